//! What a component says of itself, what it exports and what it imports, function by function,
//! read from bytes that nobody trusts. Nothing is run or compiled, and a component that passes is not thereby
//! one that this host can run: the types of functions are compared by the engine.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use wasmount_core::grants::Use;
use wasmparser::component_types::{ComponentEntityType, ComponentInstanceType};
use wasmparser::types::Types;
use wasmparser::{Parser, Payload, Validator};

use crate::capability::Capability;
use crate::component::MANIFEST_SECTION;
use crate::error::{Error, Result, printable};
use crate::manifest::{Manifest, REVEAL};
use crate::surface::{Interface, PACKAGE, can_import, needs, using};

/// The largest component that is read, in bytes.
pub const MAX_COMPONENT: usize = 64 << 20;

/// The longest name of something foreign that is kept, in bytes.
const MAX_NAME: usize = 256;

/// What a component is and asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Inspection {
    /// What its vendor says of it.
    pub manifest: Manifest,
    /// The interfaces that it exports: at least `volume` or `device`, and `attacher` only with
    /// `device`.
    pub exports: BTreeSet<Interface>,
    /// The host's functions that its code can reach: all that it can ever do on a node. An
    /// interface of which it merely names a resource is not among them.
    pub imports: BTreeSet<Import>,
    /// What it imports that is not the host's: it will not run. Functions as `Import` shows
    /// them, with the package's version; an interface without functions as just that.
    #[serde(deserialize_with = "foreign")]
    pub foreign: BTreeSet<String>,
}

/// One function of the host's that a component imports.
///
/// It is shown as `wasmount:driver/images#create`, or `wasmount:driver/images#image.grow` for a
/// method of the resource `image`. The version is left out, since 0.1's are compatible.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Import {
    /// The interface, such as `images`.
    pub interface: String,
    /// The function, such as `create` or `image.grow`.
    pub function: String,
    /// What the operator has to grant for it to do anything.
    pub capability: Option<Capability>,
}

/// Whoever inspected the component may be no more to be trusted than it: a function that wasmount does
/// not have is refused, and what one needs is not theirs to say.
impl<'de> Deserialize<'de> for Import {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Said {
            interface: String,
            function: String,
        }
        let Said { interface, function } = Said::deserialize(deserializer)?;
        match needs(&interface, &function) {
            Some(capability) => Ok(Self { interface, function, capability }),
            None => Err(D::Error::custom("an import that is none of wasmount's")),
        }
    }
}

/// Names that somebody else made harmless to a terminal, or says so.
fn foreign<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<BTreeSet<String>, D::Error> {
    let said = BTreeSet::<String>::deserialize(deserializer)?;
    Ok(said.iter().map(|name| printable(name, MAX_NAME)).collect())
}

impl Import {
    /// `interface.function`, as people are shown it.
    #[must_use]
    pub fn short(&self) -> String {
        format!("{}.{}", self.interface, self.function)
    }

    /// The name that what it needs has to be accepted by, if it is super-privileged.
    #[must_use]
    pub fn super_privileged(&self) -> Option<String> {
        match self.secret_use() {
            Some(Use::Reveal) => Some(REVEAL.to_owned()),
            _ => {
                let capability = self.capability.filter(|needed| needed.is_super_privileged());
                capability.map(|capability| capability.to_string())
            }
        }
    }

    /// The use of a secret that the function makes, which has to be granted beside its capability.
    #[must_use]
    pub fn secret_use(&self) -> Option<Use> {
        [Use::Reveal, Use::File].into_iter().find(|used| using(*used) == self.short())
    }
}

impl fmt::Display for Import {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PACKAGE}/{}#{}", self.interface, self.function)
    }
}

impl Inspection {
    /// What the component imports and its manifest gives no reason for.
    #[must_use]
    pub fn unexplained(&self) -> BTreeSet<Capability> {
        self.imported().difference(&self.asked()).copied().collect()
    }

    /// What the manifest asks for and the component does not import.
    #[must_use]
    pub fn unused(&self) -> BTreeSet<Capability> {
        self.asked().difference(&self.imported()).copied().collect()
    }

    fn imported(&self) -> BTreeSet<Capability> {
        self.imports.iter().filter_map(|import| import.capability).collect()
    }

    fn asked(&self) -> BTreeSet<Capability> {
        self.manifest.asks.iter().map(|ask| ask.capability).collect()
    }
}

/// Reads a component. An error says why it cannot be a driver.
pub fn inspect(bytes: &[u8]) -> Result<Inspection> {
    if bytes.len() > MAX_COMPONENT {
        return Err(Error::new(format!("longer than {MAX_COMPONENT} bytes")));
    }
    if Parser::is_core_wasm(bytes) {
        return Err(Error::new(
            "a core module and not a component; build the crate with `wasmount build`",
        ));
    }
    if !Parser::is_component(bytes) {
        return Err(Error::new("not a WebAssembly component; `wasmount build` makes one"));
    }
    let invalid = |error| Error::new(format!("not a valid component: {error}"));
    // After this the types are known to be sound, however deep or odd they are.
    let types = Validator::new().validate_all(bytes).map_err(invalid)?;
    let outline = Outline::read(bytes).map_err(invalid)?;

    let manifest = match outline.manifests[..] {
        [section] => Manifest::from_section(section)?,
        [] => {
            return Err(Error::new(format!(
                "it has no section {MANIFEST_SECTION}; build it with `wasmount build`, and do not \
                 strip it afterwards"
            )));
        }
        _ => return Err(Error::new(format!("it has more than one section {MANIFEST_SECTION}"))),
    };
    let exports = exports(&outline, &types)?;
    let (imports, foreign) = imports(&outline, &types);
    Ok(Inspection { manifest, exports, imports, foreign })
}

/// The outermost layer of a component. What is nested inside is the component's own affair.
#[derive(Default)]
struct Outline<'a> {
    manifests: Vec<&'a [u8]>,
    imports: Vec<&'a str>,
    exports: Vec<&'a str>,
}

impl<'a> Outline<'a> {
    fn read(bytes: &'a [u8]) -> wasmparser::Result<Self> {
        let mut outline = Self::default();
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(bytes) {
            match payload? {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                _ if depth > 0 => {}
                Payload::CustomSection(section) if section.name() == MANIFEST_SECTION => {
                    outline.manifests.push(section.data());
                }
                Payload::ComponentImportSection(section) => {
                    for import in section {
                        outline.imports.push(import?.name.name);
                    }
                }
                Payload::ComponentExportSection(section) => {
                    for export in section {
                        outline.exports.push(export?.name.name);
                    }
                }
                _ => {}
            }
        }
        Ok(outline)
    }
}

fn exports(outline: &Outline<'_>, types: &Types) -> Result<BTreeSet<Interface>> {
    let mut exports = BTreeSet::new();
    for name in &outline.exports {
        let interface = own(name)
            .and_then(|name| Interface::ALL.into_iter().find(|interface| interface.name() == name));
        let Some(interface) = interface else {
            return Err(Error::new(format!(
                "it exports `{}`; a driver exports nothing but volume, device, attacher and \
                 expander of {PACKAGE}@0.1",
                printable(name, MAX_NAME)
            )));
        };
        let item = types.component_item_for_export(name).map(|item| item.ty);
        let lacking = interface.functions().iter().find(|&&function| {
            let exported =
                instance(item, types).and_then(|instance| instance.exports.get(function));
            !exported.is_some_and(|item| matches!(item.ty, ComponentEntityType::Func(_)))
        });
        if let Some(function) = lacking {
            return Err(Error::new(format!("it exports {interface} without `{function}`")));
        }
        // Two versions of the package would be two exports of one meaning.
        if !exports.insert(interface) {
            return Err(Error::new(format!("it exports {interface} twice")));
        }
    }
    if !exports.contains(&Interface::Volume) && !exports.contains(&Interface::Device) {
        return Err(Error::new(
            "it exports neither volume nor device; put `impl Volume` or `impl Device` into \
             `export!`",
        ));
    }
    if exports.contains(&Interface::Attacher) && !exports.contains(&Interface::Device) {
        return Err(Error::new(
            "it exports attacher without device; put `impl Device` into `export!`",
        ));
    }
    Ok(exports)
}

fn imports(outline: &Outline<'_>, types: &Types) -> (BTreeSet<Import>, BTreeSet<String>) {
    let mut imports = BTreeSet::new();
    let mut foreign = BTreeSet::new();
    for name in &outline.imports {
        let item = types.component_item_for_import(name).map(|item| item.ty);
        let own = own(name).filter(|interface| can_import(interface));
        let Some(instance) = instance(item, types) else {
            foreign.insert(printable(name, MAX_NAME));
            continue;
        };
        let functions = instance
            .exports
            .iter()
            .filter(|(_, item)| matches!(item.ty, ComponentEntityType::Func(_)))
            .map(|(name, _)| readable(name));
        let mut count = 0;
        for function in functions {
            count += 1;
            match own.and_then(|interface| Some((interface, needs(interface, &function)?))) {
                Some((interface, capability)) => {
                    imports.insert(Import {
                        interface: interface.to_owned(),
                        function,
                        capability,
                    });
                }
                None => {
                    foreign.insert(printable(&format!("{name}#{function}"), MAX_NAME));
                }
            }
        }
        if count == 0 && own.is_none() {
            foreign.insert(printable(name, MAX_NAME));
        }
    }
    (imports, foreign)
}

fn instance(item: Option<ComponentEntityType>, types: &Types) -> Option<&ComponentInstanceType> {
    match item? {
        ComponentEntityType::Instance(id) => Some(&types[id]),
        _ => None,
    }
}

/// The interface in a name such as `wasmount:driver/images@0.1.0`: of our package, and of a version
/// that this host is compatible with.
fn own(name: &str) -> Option<&str> {
    let (interface, version) = name.strip_prefix(PACKAGE)?.strip_prefix('/')?.split_once('@')?;
    let patch = version.strip_prefix("0.1.")?;
    (!patch.is_empty() && patch.bytes().all(|byte| byte.is_ascii_digit())).then_some(interface)
}

/// A function's name as it is shown: `[method]image.grow` is `image.grow`.
pub(crate) fn readable(name: &str) -> String {
    match name.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some(("constructor", resource)) => format!("{resource}.constructor"),
        Some((_, name)) => name.to_owned(),
        None => name.to_owned(),
    }
}

#[cfg(test)]
pub(crate) mod tests;
