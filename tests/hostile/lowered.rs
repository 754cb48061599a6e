//! A statement as WebAssembly: values are passed as the WIT's types say that they are, or as the numbers
//! that the statement has.

use std::fmt::Write as _;

use wit_parser::abi::WasmType;
use wit_parser::{Type, TypeDefKind};

use crate::component::{ALLOCATORS, ANSWER, LETTERS, TEXTS, Writer, line};
use crate::script::{Statement, Value};
use crate::surface::Kind;

impl Writer<'_> {
    /// Does what a statement says. `payload` is where a failure of the operation is put.
    pub(crate) fn statement(&mut self, statement: &Statement, payload: usize) {
        let number = |index: usize| match statement.values.get(index) {
            Some(Value::Number(number)) => *number,
            other => panic!("{}: {other:?} is no number", statement.name),
        };
        match (statement.name.as_str(), statement.values.first()) {
            ("realloc", Some(Value::Word(does))) => {
                let found = ALLOCATORS.iter().position(|it| it.0 == does).expect("an allocator");
                line!(self, "(global.set $broken (i32.const {}))", found + 1);
            }
            ("store", _) => {
                line!(self, "(i32.store8 (i32.const {}) (i32.const {}))", number(0), number(1));
            }
            ("return", _) => line!(self, "(return (i32.const {}))", number(0)),
            _ => self.call(statement, payload),
        }
    }

    fn call(&mut self, statement: &Statement, payload: usize) {
        let surface = self.surface;
        let name = &statement.name;
        let import = surface.imports.get(name).unwrap_or_else(|| panic!("no function is {name}"));
        let Some(function) = &import.function else {
            let handle = self.core(&statement.values[0], WasmType::I32);
            line!(self, "(call ${name} {handle})");
            return;
        };
        let signature = surface.import_signature(function);
        let mut values = String::new();
        if statement.raw {
            assert_eq!(statement.values.len(), signature.params.len(), "{name}: its numbers");
            for (value, ty) in statement.values.iter().zip(&signature.params) {
                values += &self.core(value, *ty);
            }
        } else {
            assert_eq!(statement.values.len(), function.params.len(), "{name}: its values");
            for (value, param) in statement.values.iter().zip(&function.params) {
                values += &self.lowered(value, &param.ty);
            }
            if signature.retptr {
                values += &format!("(i32.const {ANSWER})");
            }
        }
        let call = format!("(call ${name} {values})");
        match signature.results.is_empty() {
            true => line!(self, "{call}"),
            false => line!(self, "(drop {call})"),
        }
        let Some(result) = &function.result else { return };
        let mut at = ANSWER;
        let mut inner = Some(result);
        if let Kind::Made(TypeDefKind::Result(made)) = surface.kind(result) {
            at += surface.payload(result);
            inner = made.ok.as_ref();
            if !statement.goes_on {
                line!(
                    self,
                    "(if (i32.load8_u (i32.const {ANSWER})) (then (return
                       (call $refused (i32.const {at}) (i32.const {payload})))))"
                );
            }
        }
        let Some(kept) = &statement.kept else { return };
        let inner = inner.expect("something is kept");
        if kept == "none" {
            let error = self.error("done", "there is something where there should be none");
            line!(
                self,
                "(if (i32.load8_u (i32.const {at})) (then (return
                   (call $refused (i32.const {error}) (i32.const {payload})))))"
            );
            return;
        }
        if let Kind::Made(TypeDefKind::Option(_)) = surface.kind(inner) {
            at += surface.payload(inner);
        }
        line!(self, "(local.set ${kept} (i32.load (i32.const {at})))");
    }

    /// A value as its type says that it is passed.
    fn lowered(&mut self, value: &Value, ty: &Type) -> String {
        let surface = self.surface;
        match (surface.kind(ty), value) {
            (Kind::Plain(Type::String) | Kind::Made(TypeDefKind::List(Type::U8)), _) => {
                let (at, length, fill) = self.long_or_short(value);
                format!("{fill} (i32.const {at}) (i32.const {length})")
            }
            (Kind::Plain(Type::U64), _) => self.core(value, WasmType::I64),
            (Kind::Made(TypeDefKind::Option(_)), Value::Word(none)) if none == "none" => {
                "(i32.const 0)".repeat(surface.width(ty))
            }
            (Kind::Made(TypeDefKind::Option(inner)), _) => {
                format!("(i32.const 1) {}", self.lowered(value, inner))
            }
            (Kind::Made(TypeDefKind::Enum(cases)), Value::Word(word)) => {
                let found = cases.cases.iter().position(|case| case.name == *word);
                format!("(i32.const {})", found.unwrap_or_else(|| panic!("no case is {word}")))
            }
            (Kind::Made(TypeDefKind::List(_)), Value::List(entries)) => {
                let (at, length) = (self.list(entries), entries.len());
                format!("(i32.const {at}) (i32.const {length})")
            }
            _ => self.core(value, WasmType::I32),
        }
    }

    /// A value of core WebAssembly.
    fn core(&self, value: &Value, ty: WasmType) -> String {
        let number = match value {
            Value::Number(number) => *number,
            Value::Word(word) => match word.as_str() {
                "answer" => ANSWER as u64,
                "volume" | "target" | "previous" => return format!("(global.get ${word})"),
                kept => return format!("(local.get ${kept})"),
            },
            other => panic!("{other:?} is more than a number"),
        };
        match ty {
            WasmType::I64 => format!("(i64.const {number})"),
            _ => format!("(i32.const {number})"),
        }
    }

    /// Where a text is, how long, and what puts it there.
    fn long_or_short(&mut self, value: &Value) -> (usize, usize, String) {
        match value {
            Value::Text(text) => (self.text(text.as_bytes()), text.len(), String::new()),
            Value::Letters(times) => {
                let fill = format!(
                    "(memory.fill (i32.const {LETTERS}) (i32.const 120) (i32.const {times}))"
                );
                (LETTERS, *times as usize, fill)
            }
            other => panic!("{other:?} is no text"),
        }
    }

    /// A list of texts, or of pairs of texts. Returns where it is.
    fn list(&mut self, entries: &[Value]) -> usize {
        let mut words = Vec::new();
        let flat = entries.iter().flat_map(|entry| match entry {
            Value::List(parts) => parts.as_slice(),
            one => std::slice::from_ref(one),
        });
        for entry in flat {
            let text = match entry {
                Value::Text(text) => text.clone(),
                Value::Letters(times) => "x".repeat(*times as usize),
                other => panic!("{other:?} is no text"),
            };
            words.extend([self.text(text.as_bytes()), text.len()]);
        }
        let words: Vec<u8> =
            words.into_iter().flat_map(|word| (word as u32).to_le_bytes()).collect();
        self.text(&words)
    }

    /// Puts bytes where words can lie, too. Returns where they are.
    pub(crate) fn text(&mut self, bytes: &[u8]) -> usize {
        self.texts.resize(self.texts.len().next_multiple_of(8), 0);
        let at = TEXTS + self.texts.len();
        self.texts.extend(bytes);
        assert!(TEXTS + self.texts.len() < LETTERS, "too many texts");
        at
    }
}
