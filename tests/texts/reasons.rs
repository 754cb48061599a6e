//! Which function makes a failure of which reason, so that a text is shown with its own.
//!
//! A function with a parameter `reason` says so; one that makes a failure of always the same
//! reason, and takes the message, is known in its own file. A text whose reason is not found is
//! shown without: nothing is left out for want of one.

use std::collections::BTreeMap;

use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};
use syn::{Expr, ExprCall, ExprMacro, FnArg, ItemFn, ItemImpl, Pat, Signature, Token, Type};

use crate::collect::{literal, path_of};
use crate::template::Template;

/// What a function's parameter is called that becomes the reason, and what is put before it.
const PARAMETERS: &[(&str, &str)] = &[("reason", ""), ("section", "grant:")];

/// The functions that make failures.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reasons {
    /// By name: which argument it is, and what is put before it.
    given: BTreeMap<String, (usize, &'static str)>,
    /// By name: always this.
    fixed: BTreeMap<String, String>,
}

impl Reasons {
    /// Those that say it by a parameter's name.
    pub(crate) fn of<'a>(files: impl Iterator<Item = &'a syn::File>) -> Self {
        let mut reasons = Self::default();
        files.for_each(|file| reasons.visit_file(file));
        reasons
    }

    /// With those that this file alone knows.
    pub(crate) fn in_file(&self, file: &syn::File) -> Self {
        let mut reasons = self.clone();
        let functions = file.items.iter().filter_map(|item| match item {
            syn::Item::Fn(function) => Some(function),
            _ => None,
        });
        for function in functions {
            let mut calls = Calls { reasons: self, found: Vec::new() };
            calls.visit_block(&function.block);
            let name = function.sig.ident.to_string();
            if let [reason] = calls.found.as_slice()
                && takes_a_message(function)
                && !self.given.contains_key(&name)
            {
                reasons.fixed.insert(name, reason.clone());
            }
        }
        reasons
    }

    /// The reason of the failure that a call makes.
    pub(crate) fn of_call(
        &self,
        function: &str,
        arguments: &Punctuated<Expr, Token![,]>,
    ) -> Option<String> {
        if let Some(reason) = self.fixed.get(function) {
            return Some(reason.clone());
        }
        // The SDK makes these by a macro, one for each code.
        let constructor = function.starts_with("Error::") && arguments.len() == 2;
        let given = self.given.get(function).copied();
        let (at, head) = given.or_else(|| constructor.then_some((0, "")))?;
        let reason = token(arguments.get(at)?)?;
        Some(format!("{head}{reason}"))
    }

    fn read(&mut self, within: Option<&str>, signature: &Signature) {
        let inputs = signature.inputs.iter();
        let parameters = inputs.filter_map(|input| match input {
            FnArg::Typed(typed) => Some(&*typed.pat),
            FnArg::Receiver(_) => None,
        });
        let names = parameters.map(|pattern| match pattern {
            Pat::Ident(name) => name.ident.to_string(),
            _ => String::new(),
        });
        for (index, name) in names.enumerate() {
            if let Some((_, head)) = PARAMETERS.iter().find(|(known, _)| *known == name) {
                let function = signature.ident.to_string();
                let function = match within.filter(|_| signature.receiver().is_none()) {
                    Some(within) => format!("{within}::{function}"),
                    None => function,
                };
                self.given.insert(function, (index, head));
            }
        }
    }
}

impl<'ast> Visit<'ast> for Reasons {
    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        self.read(None, &function.sig);
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        let Type::Path(within) = &*item.self_ty else { return };
        let within = within.path.segments.last().map(|segment| segment.ident.to_string());
        for item in &item.items {
            if let syn::ImplItem::Fn(function) = item {
                self.read(within.as_deref(), &function.sig);
            }
        }
    }
}

/// The reasons of the failures that a block makes.
struct Calls<'a> {
    reasons: &'a Reasons,
    found: Vec<String>,
}

impl<'ast> Visit<'ast> for Calls<'_> {
    fn visit_expr_call(&mut self, call: &'ast ExprCall) {
        self.found.extend(self.reasons.of_call(&path_of(&call.func), &call.args));
        visit::visit_expr_call(self, call);
    }
}

/// Whether a function is one that only puts a text into a failure.
fn takes_a_message(function: &ItemFn) -> bool {
    let few = function.block.stmts.len() <= 2;
    let named = |input: &FnArg| match input {
        FnArg::Typed(typed) => {
            matches!(&*typed.pat, Pat::Ident(name) if name.ident == "message" || name.ident == "what")
        }
        FnArg::Receiver(_) => false,
    };
    few && function.sig.inputs.iter().any(named)
}

/// A reason, as it is written where a failure is made.
fn token(expr: &Expr) -> Option<String> {
    let text = match expr {
        Expr::Reference(reference) => return token(&reference.expr),
        Expr::Macro(ExprMacro { mac, .. }) if mac.path.is_ident("format") => {
            let parser = Punctuated::<Expr, Token![,]>::parse_terminated;
            let arguments = mac.parse_body_with(parser).ok()?;
            let rest: Vec<&Expr> = arguments.iter().skip(1).collect();
            Template::format(&literal(arguments.first()?)?, &rest).to_string()
        }
        expr => literal(expr)?,
    };
    (!text.contains(' ')).then_some(text)
}
