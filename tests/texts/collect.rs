//! Every text of a source file, wherever it stands.
//!
//! Nothing is looked for by the way that it takes to the user, since a way can be missed: a
//! `const`, a `match` with a text a case, a `format!` that somebody else passes on. Every string
//! literal of more than a word is a text, unless it stands where no user meets it, which the first
//! lists here say. The other lists only make a text read better: its reason beside it, its holes
//! named, and a single word taken in where that is all that is said.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens as _;
use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};
use syn::{
    Attribute, Expr, ExprCall, ExprLit, ExprMethodCall, Lit, LitStr, Local, Macro, Pat, Token,
};

use crate::reasons::Reasons;
use crate::sources::{is_test, is_test_condition};
use crate::template::Template;

/// Attributes that speak to the compiler, or document.
const SILENT_ATTRIBUTES: &[&str] =
    &["allow", "cfg", "cfg_attr", "deprecated", "doc", "expect", "must_use"];

/// What is said only if wasmount itself is wrong, and then to whoever mends it.
const BUG_MACROS: &[&str] = &[
    "assert",
    "assert_eq",
    "assert_ne",
    "debug_assert",
    "debug_assert_eq",
    "env",
    "panic",
    "stringify",
    "unreachable",
];
const BUG_METHODS: &[&str] = &["expect", "expect_err"];

/// Macros whose first string literal is a format string.
const FORMATTING: &[&str] = &[
    "anyhow",
    "bail",
    "debug",
    "ensure",
    "eprint",
    "eprintln",
    "error",
    "format",
    "format_args",
    "info",
    "print",
    "println",
    "warn",
    "write",
    "writeln",
];

/// Where a single word is a text, too.
const SAYING: &[&str] = &["anyhow", "bail", "ensure", "eprintln", "msg", "warn"];

/// Where a text is said, and then a colon and the cause.
const BEFORE_CAUSE: &[&str] = &["context", "during", "failed", "io", "with_context"];

/// A text of a source file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text {
    /// What scripts look for, where it is shown with the text.
    pub(crate) reason: Option<String>,
    /// The text.
    pub(crate) template: Template,
    /// Whether a colon and the cause follow.
    pub(crate) before_cause: bool,
}

/// The texts of a file, in its order.
pub(crate) fn texts(file: &syn::File, reasons: &Reasons) -> Vec<Text> {
    let reasons = reasons.in_file(file);
    let mut collector = Collector { reasons, ..Collector::default() };
    collector.visit_file(file);
    missing_none(file, &collector.seen);
    let mut texts: Vec<Text> = Vec::new();
    for Found { text, .. } in collector.found {
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    texts
}

/// Holds the syntax tree's reader to the file's bare tokens, in which nothing can hide.
fn missing_none(file: &syn::File, seen: &[String]) {
    let mut literals = Vec::new();
    walk(file.to_token_stream(), &mut |literal| literals.push(literal));
    for literal in literals.iter().filter(|literal| Template::plain(literal).is_text()) {
        assert!(seen.contains(literal), "the collector does not come to the text {literal:?}");
    }
}

/// Calls `found` with each string literal of a file or a macro's body, but those that no user
/// meets.
fn walk(tokens: TokenStream, found: &mut impl FnMut(String)) {
    let silent = |name: &str| SILENT_ATTRIBUTES.contains(&name);
    let mut before = [String::new(), String::new()];
    // After an attribute that leaves an item to tests, up to the item's end.
    let mut in_test = false;
    for token in tokens {
        let [second, first] = &before;
        match &token {
            TokenTree::Group(group) => {
                let inside = group.stream().into_iter().next().map(|token| token.to_string());
                let inside = inside.unwrap_or_default();
                let is_attribute = first == "#" || (second == "#" && first == "!");
                in_test |= is_attribute && is_test_condition(&group.stream().to_string());
                let bug = BUG_METHODS.contains(&first.as_str())
                    || (first == "!" && BUG_MACROS.contains(&second.as_str()));
                let left_out = in_test || bug || (is_attribute && silent(&inside));
                if !left_out {
                    walk(group.stream(), found);
                }
                in_test &= group.delimiter() != Delimiter::Brace;
            }
            TokenTree::Literal(literal) if !in_test => {
                value(literal).into_iter().for_each(&mut *found)
            }
            TokenTree::Punct(mark) => in_test &= mark.as_char() != ';',
            TokenTree::Ident(_) | TokenTree::Literal(_) => {}
        }
        before = [std::mem::take(&mut before[1]), token.to_string()];
    }
}

/// The text of a literal of any kind of string.
fn value(literal: &proc_macro2::Literal) -> Option<String> {
    match Lit::new(literal.clone()) {
        Lit::Str(text) => Some(text.value()),
        Lit::ByteStr(bytes) => Some(String::from_utf8_lossy(&bytes.value()).into_owned()),
        Lit::CStr(text) => Some(text.value().to_string_lossy().into_owned()),
        _ => None,
    }
}

struct Found {
    text: Text,
    /// The variable that it is put into.
    variable: Option<String>,
}

#[derive(Default)]
struct Collector {
    reasons: Reasons,
    found: Vec<Found>,
    /// Every string literal that was come to.
    seen: Vec<String>,
    /// The reason of the failure that is being made.
    reason: Option<String>,
    /// The variable that is being set.
    variable: Option<String>,
    saying: bool,
    before_cause: bool,
}

impl Collector {
    fn add(&mut self, template: Template) {
        let alone = (self.saying || self.before_cause) && template.letters() > 0;
        if template.is_text() || alone {
            let (reason, before_cause) = (self.reason.clone(), self.before_cause);
            let text = Text { reason, template, before_cause };
            self.found.push(Found { text, variable: self.variable.clone() });
        }
    }

    fn arguments(&mut self, function: &str, arguments: &Punctuated<Expr, Token![,]>) {
        let name = function.rsplit("::").next().unwrap_or(function);
        if BUG_METHODS.contains(&name) {
            return;
        }
        let before = (self.reason.clone(), self.saying, self.before_cause);
        if let Some(reason) = self.reasons.of_call(function, arguments) {
            arguments.iter().filter_map(variable_of).for_each(|name| self.explain(&name, &reason));
            self.reason = Some(reason);
        }
        self.saying |= SAYING.contains(&name);
        self.before_cause |= BEFORE_CAUSE.contains(&name);
        arguments.iter().for_each(|argument| self.visit_expr(argument));
        (self.reason, self.saying, self.before_cause) = before;
    }

    /// The reason of what was put into a variable last.
    fn explain(&mut self, variable: &str, reason: &str) {
        let is_it = |found: &&mut Found| found.variable.as_deref() == Some(variable);
        let later = self.found.iter_mut().rev().skip_while(|found| !is_it(found));
        for found in later.take_while(is_it).filter(|found| found.text.reason.is_none()) {
            found.text.reason = Some(reason.to_owned());
        }
    }

    /// What has no syntax tree: the bodies of macros, and attributes.
    fn tokens(&mut self, tokens: TokenStream) {
        walk(tokens, &mut |literal| self.plain(&literal));
    }

    fn plain(&mut self, literal: &str) {
        self.seen.push(literal.to_owned());
        self.add(Template::plain(literal));
    }
}

impl<'ast> Visit<'ast> for Collector {
    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        let name = attribute.path().get_ident().map(ToString::to_string).unwrap_or_default();
        if let syn::Meta::List(list) = &attribute.meta
            && !SILENT_ATTRIBUTES.contains(&name.as_str())
        {
            self.tokens(list.tokens.clone());
        }
    }

    fn visit_item(&mut self, item: &'ast syn::Item) {
        let attributes: &[Attribute] = match item {
            syn::Item::Const(item) => &item.attrs,
            syn::Item::Fn(item) => &item.attrs,
            syn::Item::Impl(item) => &item.attrs,
            syn::Item::Mod(item) => &item.attrs,
            syn::Item::Static(item) => &item.attrs,
            _ => &[],
        };
        if !is_test(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !is_test(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_local(&mut self, local: &'ast Local) {
        let before = self.variable.take();
        let mut pattern = &local.pat;
        while let Pat::Type(typed) = pattern {
            pattern = &typed.pat;
        }
        if let Pat::Ident(name) = pattern {
            self.variable = Some(name.ident.to_string());
        }
        visit::visit_local(self, local);
        self.variable = before;
    }

    fn visit_expr_call(&mut self, call: &'ast ExprCall) {
        self.visit_expr(&call.func);
        self.arguments(&path_of(&call.func), &call.args);
    }

    fn visit_expr_method_call(&mut self, call: &'ast ExprMethodCall) {
        self.visit_expr(&call.receiver);
        self.arguments(&call.method.to_string(), &call.args);
    }

    fn visit_macro(&mut self, called: &'ast Macro) {
        let name = called.path.segments.last().map(|s| s.ident.to_string()).unwrap_or_default();
        if BUG_MACROS.contains(&name.as_str()) {
            return;
        }
        let parser = Punctuated::<Expr, Token![,]>::parse_terminated;
        let Ok(arguments) = called.parse_body_with(parser) else {
            return self.tokens(called.tokens.clone());
        };
        if name == "concat" {
            self.seen.extend(arguments.iter().filter_map(literal));
            let texts = arguments.iter().map(|text| literal(text).unwrap_or_else(|| "{…}".into()));
            return self.add(Template::plain(&texts.collect::<String>()));
        }
        let before = self.saying;
        self.saying |= SAYING.contains(&name.as_str());
        let format = arguments.iter().position(|argument| literal(argument).is_some());
        let format = format.filter(|_| FORMATTING.contains(&name.as_str()));
        for (index, argument) in arguments.iter().enumerate() {
            match literal(argument).filter(|_| format == Some(index)) {
                Some(text) => {
                    let rest: Vec<&Expr> = arguments.iter().skip(index + 1).collect();
                    self.add(Template::format(&text, &rest));
                    self.seen.push(text);
                }
                None => self.visit_expr(argument),
            }
        }
        self.saying = before;
    }

    fn visit_lit_str(&mut self, literal: &'ast LitStr) {
        self.plain(&literal.value());
    }

    fn visit_lit_byte_str(&mut self, literal: &'ast syn::LitByteStr) {
        self.plain(&String::from_utf8_lossy(&literal.value()));
    }

    fn visit_lit_cstr(&mut self, literal: &'ast syn::LitCStr) {
        self.plain(&literal.value().to_string_lossy());
    }
}

/// The path of the function that is called.
pub(crate) fn path_of(expr: &Expr) -> String {
    match expr {
        Expr::Path(path) => {
            let names = path.path.segments.iter().map(|segment| segment.ident.to_string());
            names.collect::<Vec<_>>().join("::")
        }
        _ => String::new(),
    }
}

/// The text of a string literal.
pub(crate) fn literal(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value()),
        Expr::Reference(reference) => literal(&reference.expr),
        _ => None,
    }
}

fn variable_of(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Path(path) => path.path.get_ident().map(ToString::to_string),
        Expr::Reference(reference) => variable_of(&reference.expr),
        _ => None,
    }
}
