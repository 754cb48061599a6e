//! What a component imports, held against what its manifest asks for, function by function: a vendor
//! ships nothing that a reviewer would stumble over. Whoever reads a component that was built elsewhere
//! gets the same told, and no error.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use wasmount_core::grants::Use;

use crate::capability::Capability;
use crate::error::{Error, Result};
use crate::inspect::{Import, Inspection};
use crate::manifest::{Ask, example, required};
use crate::surface;

/// Fails unless everything that is imported is asked for, and everything that is asked for is imported.
/// The error has the lines of `wasmount.toml` to add or remove.
pub(crate) fn check(inspection: &Inspection) -> Result<()> {
    let imports: Vec<&Import> = inspection.imports.iter().collect();
    let asks = &inspection.manifest.asks;
    let mut mistakes = Vec::new();
    for capability in Capability::ALL {
        let ask = asks.iter().find(|ask| ask.capability == capability);
        let importing: Vec<&Import> =
            imports.iter().filter(|import| needs(import, capability)).copied().collect();
        match ask {
            None if !importing.is_empty() => mistakes.push(unasked(capability, &importing)),
            Some(_) if importing.is_empty() => mistakes.push(unused(capability)),
            _ => {}
        }
    }
    if let Some(secrets) = asks.iter().find(|ask| ask.capability == Capability::Secrets) {
        mistakes
            .extend([Use::Reveal, Use::File].map(|used| use_of(secrets, used, &imports)).concat());
    }
    match mistakes[..] {
        [] => Ok(()),
        _ => Err(Error::new(format!(
            "what wasmount.toml asks for is not what the component imports:\n{}",
            mistakes.join("\n")
        ))),
    }
}

/// Whether a function needs this. Images are made and grown among those that `images` names.
fn needs(import: &Import, capability: Capability) -> bool {
    let within = capability == Capability::Images
        && matches!(import.capability, Some(Capability::ImagesCreate | Capability::ImagesGrow));
    import.capability == Some(capability) || within
}

fn unasked(capability: Capability, importing: &[&Import]) -> String {
    let functions: BTreeSet<String> = importing.iter().map(|import| import.short()).collect();
    let mut text = format!(
        "  {} imported, and `{capability}` is not asked for; add what it is for:\n    [[asks]]\n    \
         capability = \"{capability}\"\n    reason = \"…\"",
        are(&functions)
    );
    for parameter in required(capability) {
        let _ = write!(text, "\n    {}", example(parameter));
    }
    text
}

fn unused(capability: Capability) -> String {
    let functions: BTreeSet<String> = surface::needing(capability).collect();
    format!(
        "  `{capability}` is asked for, and {} imported; remove its [[asks]]:\n    capability = \
         \"{capability}\"",
        none_of(&functions)
    )
}

/// What is wrong with what is asked for of one use of secrets, if anything is.
fn use_of(secrets: &Ask, used: Use, imports: &[&Import]) -> Vec<String> {
    let imported = imports.iter().find(|import| import.secret_use() == Some(used));
    let name = used.name();
    match (imported, secrets.asks_to(used)) {
        (Some(import), false) => vec![format!(
            "  {} is imported, and no key of `secrets` is asked for with that use; add to a key:\n    \
             uses = [\"{name}\"]",
            import.short()
        )],
        (None, true) => {
            let function = surface::using(used);
            vec![format!(
                "  `secrets` is asked for with the use `{name}`, and {function} is not imported; \
                 remove from the keys' uses:\n    \"{name}\""
            )]
        }
        _ => Vec::new(),
    }
}

fn are(functions: &BTreeSet<String>) -> String {
    let verb = if functions.len() == 1 { "is" } else { "are" };
    format!("{} {verb}", Vec::from_iter(functions.iter().map(String::as_str)).join(", "))
}

fn none_of(functions: &BTreeSet<String>) -> String {
    let list = Vec::from_iter(functions.iter().map(String::as_str)).join(", ");
    if functions.len() == 1 { format!("{list} is not") } else { format!("none of {list} is") }
}

#[cfg(test)]
mod tests;
