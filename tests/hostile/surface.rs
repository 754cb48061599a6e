//! What a component can import and export, as `wit/` has it: each function under the name that it
//! has in the audit log.

use std::collections::BTreeMap;
use std::path::Path;

use wit_parser::abi::{AbiVariant, WasmSignature};
use wit_parser::{
    Function, FunctionKind, InterfaceId, PackageId, Resolve, SizeAlign, SourceMap, Type,
    TypeDefKind, WorldItem,
};

/// All of it.
pub(crate) struct Surface {
    pub(crate) resolve: Resolve,
    pub(crate) package: PackageId,
    pub(crate) sizes: SizeAlign,
    /// The imports, those that give handles back among them.
    pub(crate) imports: BTreeMap<String, Import>,
    /// The exports.
    pub(crate) exports: Vec<Export>,
}

/// A function that a component can import.
pub(crate) struct Import {
    /// The interface, as core WebAssembly names it.
    pub(crate) module: String,
    /// The function, as core WebAssembly names it.
    pub(crate) field: String,
    /// None for one that gives a handle back.
    pub(crate) function: Option<Function>,
}

/// A function that a component can export.
pub(crate) struct Export {
    /// As core WebAssembly names it.
    pub(crate) symbol: String,
    /// kubelet's name for it.
    pub(crate) operation: String,
    pub(crate) function: Function,
}

impl Surface {
    /// Reads `wit/`.
    pub(crate) fn read() -> Self {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit");
        let mut map = SourceMap::new();
        for file in std::fs::read_dir(directory).expect("wit/") {
            map.push_file(&file.expect("an entry").path()).expect("readable");
        }
        let mut resolve = Resolve::default();
        let package = resolve.push_group(map.parse().expect("WIT")).expect("WIT");
        let mut sizes = SizeAlign::default();
        sizes.fill(&resolve).expect("sizes");
        let mut surface =
            Self { resolve, package, sizes, imports: BTreeMap::new(), exports: Vec::new() };
        surface.gather();
        surface
    }

    fn gather(&mut self) {
        let world = self.resolve.select_world(&[self.package], Some("driver")).expect("a world");
        let world = self.resolve.worlds[world].clone();
        let interfaces = |items: &mut dyn Iterator<Item = &WorldItem>| -> Vec<InterfaceId> {
            items
                .map(|item| match item {
                    WorldItem::Interface { id, .. } => *id,
                    other => panic!("the world has {other:?}"),
                })
                .collect()
        };
        for id in interfaces(&mut world.imports.values()) {
            let module = self.resolve.id_of(id).expect("it has a name");
            let interface = &self.resolve.interfaces[id];
            let plain = interface.name.clone().expect("it has a name");
            for (field, function) in &interface.functions {
                let of = match function.kind {
                    FunctionKind::Freestanding => plain.clone(),
                    FunctionKind::Method(resource) => self.name(resource),
                    ref other => panic!("{field} is {other:?}"),
                };
                let (module, function) = (module.clone(), function.clone());
                let import = Import { module, field: field.clone(), function: Some(function) };
                let item = import.function.as_ref().expect("just made").item_name();
                self.imports.insert(format!("{of}.{item}"), import);
            }
            for (name, id) in &interface.types {
                if matches!(self.resolve.types[*id].kind, TypeDefKind::Resource) {
                    let field = format!("[resource-drop]{name}");
                    let import = Import { module: module.clone(), field, function: None };
                    self.imports.insert(format!("{name}.drop"), import);
                }
            }
        }
        for id in interfaces(&mut world.exports.values()) {
            let module = self.resolve.id_of(id).expect("it has a name");
            for (name, function) in &self.resolve.interfaces[id].functions {
                self.exports.push(Export {
                    symbol: format!("{module}#{name}"),
                    operation: name.replace('-', ""),
                    function: function.clone(),
                });
            }
        }
    }

    fn name(&self, resource: wit_parser::TypeId) -> String {
        self.resolve.types[resource].name.clone().expect("it has a name")
    }

    /// What core WebAssembly takes and gives.
    pub(crate) fn import_signature(&self, function: &Function) -> WasmSignature {
        self.resolve.wasm_signature(AbiVariant::GuestImport, function)
    }

    /// What core WebAssembly takes and gives.
    pub(crate) fn export_signature(&self, function: &Function) -> WasmSignature {
        self.resolve.wasm_signature(AbiVariant::GuestExport, function)
    }

    /// A type, by whatever names it goes.
    pub(crate) fn kind<'t>(&'t self, ty: &'t Type) -> Kind<'t> {
        let Type::Id(id) = ty else { return Kind::Plain(ty) };
        match &self.resolve.types[*id].kind {
            TypeDefKind::Type(other) => self.kind(other),
            kind => Kind::Made(kind),
        }
    }

    /// Where in a result or an option that lies in memory is what it holds, in bytes: behind one byte
    /// that tells which case it is.
    pub(crate) fn payload(&self, ty: &Type) -> usize {
        self.sizes.align(ty).align_wasm32()
    }

    /// How many values of core WebAssembly a parameter is.
    pub(crate) fn width(&self, ty: &Type) -> usize {
        match self.kind(ty) {
            Kind::Plain(Type::String) | Kind::Made(TypeDefKind::List(_)) => 2,
            Kind::Made(TypeDefKind::Option(inner)) => 1 + self.width(inner),
            _ => 1,
        }
    }
}

/// A type that WIT has, or one that somebody made of such.
pub(crate) enum Kind<'t> {
    Plain(&'t Type),
    Made(&'t TypeDefKind),
}
