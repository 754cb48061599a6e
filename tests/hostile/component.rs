//! A component that does what the cases say: a function for each of them, in the text format, since
//! what matters is what no toolchain would emit. Which case is tried is told by the volume's name, or by
//! what the volume is attached as.
//!
//! Where no case is tried it is a driver of ext4 volumes on images, which is what cases begin with.

use std::fmt::Write as _;

use wasmount_pack::{Manifest, pack};
use wit_component::StringEncoding;
use wit_parser::abi::WasmType;
use wit_parser::{Type, TypeDefKind};

use crate::cases::Case;
use crate::script::Statement;
use crate::surface::{Export, Import, Kind, Surface};

/// Where answers to host calls are put, and what the exports return.
pub(crate) const ANSWER: usize = 256;
const RETURNED: usize = 512;
/// Texts, then what is as long as nobody would write it, then what the host passes.
pub(crate) const TEXTS: usize = 4096;
pub(crate) const LETTERS: usize = 1 << 20;
const HEAP: usize = 4 << 20;
const PAGES: usize = 128;

/// What an allocator does that is as it should not be.
pub(crate) const ALLOCATORS: &[(&str, &str)] = &[
    ("trap", "unreachable"),
    ("outside", "(return (i32.const -16))"),
    ("crooked", "(return (i32.const 4194305))"),
    ("host-call", "(drop (call $clock.now))"),
];

/// What it does where no case is tried.
const DRIVER: &[(&str, &[&str])] = &[
    ("attach", &[r#"image = images.open("vol.img")"#, r#"image.lease(image, "node-1")"#]),
    ("waitforattach", &[r#"image = images.open("vol.img")"#, "image.attach(image, read-write)"]),
    (
        "mountdevice",
        &[
            r#"image = images.open("vol.img")"#,
            "device = image.attach(image, read-write)",
            r#"try filesystems.format(device, "ext4", [])"#,
            r#"mount = mounts-block.mount(device, "ext4", read-write, [])"#,
            "mount-target.attach(target, mount)",
        ],
    ),
    ("mount", &["mount = mounts-bind.staged(read-write)", "mount-target.attach(target, mount)"]),
    ("unmount", &["mount-target.unmount(target)"]),
    ("unmountdevice", &["mount-target.unmount(target)", "images.detach()"]),
    // One of them is refused: the call is about the other.
    ("detach", &[r#"try images.release("node-1")"#, r#"try images.release("node-2")"#]),
    ("isattached", &[]),
    ("expandvolume", &[]),
    ("expandfs", &[]),
];

/// The volume on which a case is tried, and what tells one that has another's volume.
pub(crate) fn volume(number: usize) -> String {
    format!("v{number}")
}

/// The component.
pub(crate) fn component(surface: &Surface, cases: &[Case]) -> Vec<u8> {
    let text = Writer { surface, texts: Vec::new(), body: String::new() }.module(cases);
    let mut module = wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let world = surface.resolve.select_world(&[surface.package], Some("driver")).expect("a world");
    let utf8 = StringEncoding::UTF8;
    wit_component::embed_component_metadata(&mut module, &surface.resolve, world, utf8, false)
        .expect("metadata");
    let manifest =
        Manifest::parse("name = \"misuse\"\nversion = \"1\"\ndescription = \"Misuses the host\"\n");
    pack(&module, &manifest.expect("a manifest")).expect("a component")
}

/// The module's text, while it is written.
pub(crate) struct Writer<'s> {
    pub(crate) surface: &'s Surface,
    pub(crate) texts: Vec<u8>,
    pub(crate) body: String,
}

macro_rules! line {
    ($writer:expr, $($text:tt)+) => {
        writeln!($writer.body, $($text)+).expect("a text can grow")
    };
}
pub(crate) use line;

impl Writer<'_> {
    fn module(mut self, cases: &[Case]) -> String {
        self.allocator();
        self.ends();
        let surface = self.surface;
        for export in &surface.exports {
            let (_, driver) = DRIVER.iter().find(|row| row.0 == export.operation).expect("a row");
            let driver: Vec<_> = driver.iter().map(|line| Statement::parse(line)).collect();
            self.function(&format!("${}", export.operation), export, &driver, true);
            let own: Vec<_> =
                (0..).zip(cases).filter(|(_, it)| it.operation == export.operation).collect();
            for (number, case) in &own {
                self.function(
                    &format!("$case{number}"),
                    export,
                    &case.script(),
                    case.says.is_none(),
                );
            }
            self.export(export, &own.iter().map(|(number, _)| *number).collect::<Vec<usize>>());
        }
        let imports: String = surface.imports.iter().map(|import| self.import(import)).collect();
        let texts: String = self.texts.iter().map(|byte| format!("\\{byte:02x}")).collect();
        let globals: String = ["volume", "target", "previous", "case", "broken"]
            .map(|name| format!("(global ${name} (mut i32) (i32.const 0))\n"))
            .concat();
        format!(
            "(module {imports} (memory (export \"memory\") {PAGES})\n\
             (global $heap (mut i32) (i32.const {HEAP}))\n{globals}\
             (data (i32.const {TEXTS}) \"{texts}\")\n{})",
            self.body
        )
    }

    fn import(&self, (name, import): (&String, &Import)) -> String {
        let (params, results) = match &import.function {
            None => (" i32".to_owned(), String::new()),
            Some(function) => {
                let signature = self.surface.import_signature(function);
                (types(&signature.params), types(&signature.results))
            }
        };
        format!(
            "(import \"{}\" \"{}\" (func ${name} (param{params}) (result{results})))\n",
            import.module, import.field
        )
    }

    /// Memory for what the host passes, anew for each statement.
    fn allocator(&mut self) {
        line!(
            self,
            "(func (export \"cabi_realloc\") (param $old i32) (param $was i32) (param $align i32)
               (param $size i32) (result i32) (local $at i32)"
        );
        for (number, (_, does)) in (1..).zip(ALLOCATORS) {
            line!(self, "(if (i32.eq (global.get $broken) (i32.const {number})) (then {does}))");
        }
        line!(
            self,
            "(local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
             (global.set $heap (i32.add (local.get $at) (local.get $size)))
             (local.get $at))"
        );
    }

    /// How an operation ends: with an error that lies at a place, or with that nothing was refused. The
    /// result has its payload where its type says.
    fn ends(&mut self) {
        line!(
            self,
            "(func $refused (param $error i32) (param $payload i32) (result i32)
               (i32.store8 (i32.const {RETURNED}) (i32.const 1))
               (memory.copy (i32.add (local.get $payload) (i32.const {RETURNED}))
                 (local.get $error) (i32.const 20))
               (i32.const {RETURNED}))"
        );
        // The case of each operation that is tried is `v` and its number.
        line!(
            self,
            "(func $read-case (param $name i32) (param $length i32)
               (local $end i32)
               (global.set $case (i32.const 0))
               (local.set $end (i32.add (local.get $name) (local.get $length)))
               (loop $digits
                 (local.set $name (i32.add (local.get $name) (i32.const 1)))
                 (if (i32.lt_u (local.get $name) (local.get $end)) (then
                   (global.set $case (i32.add
                     (i32.mul (global.get $case) (i32.const 10))
                     (i32.sub (i32.load8_u (local.get $name)) (i32.const 48))))
                   (br $digits)))))"
        );
    }

    /// An error record of the component's own. Returns where it is.
    pub(crate) fn error(&mut self, reason: &str, message: &str) -> usize {
        let [reason, message] =
            [reason, message].map(|text| (self.text(text.as_bytes()), text.len()));
        // The code `internal`.
        let words = [12, reason.0, reason.1, message.0, message.1];
        self.text(&words.map(|word| (word as u32).to_le_bytes()).concat())
    }

    /// The function that kubelet's operation is, which calls the one of the case that is tried.
    fn export(&mut self, export: &Export, cases: &[usize]) {
        let signature = self.surface.export_signature(&export.function);
        let (params, results) = (types(&signature.params), types(&signature.results));
        line!(
            self,
            "(func (export \"{}\") (param{params}) (result{results}) (local $ended i32)",
            export.symbol
        );
        let mut at = 0;
        let mut drops = String::new();
        for param in &export.function.params {
            let name = param.name.as_str();
            match name {
                "volume" => {
                    line!(self, "(global.set $volume (local.get {at}))");
                    line!(self, "(call $volume.name (local.get {at}) (i32.const {ANSWER}))");
                    let answer = [0, 4].map(|it| format!("(i32.load (i32.const {}))", ANSWER + it));
                    line!(self, "(call $read-case {})", answer.join(" "));
                    drops += &format!("(call $volume.drop (local.get {at}))");
                }
                "name" => {
                    line!(self, "(call $read-case (local.get {at}) (local.get {}))", at + 1);
                }
                // Where several cases share a volume.
                "attachment" => {
                    let text = [1, 2].map(|it| format!("(local.get {})", at + it)).join(" ");
                    line!(self, "(if (local.get {at}) (then (call $read-case {text})))");
                }
                "target" => {
                    line!(self, "(global.set $target (local.get {at}))");
                    drops += &format!("(call $mount-target.drop (local.get {at}))");
                }
                "previous" => {
                    line!(self, "(global.set $previous (local.get {}))", at + 1);
                    drops += &format!(
                        "(if (local.get {at}) (then (call $volume-record.drop (local.get {}))))",
                        at + 1
                    );
                }
                _ => {}
            }
            at += self.surface.width(&param.ty);
        }
        line!(self, "(block $done");
        for case in cases {
            line!(
                self,
                "(if (i32.eq (global.get $case) (i32.const {case})) (then
                   (local.set $ended (call $case{case})) (br $done)))"
            );
        }
        line!(self, "(local.set $ended (call ${})))", export.operation);
        // Borrowed handles go back before the operation ends.
        line!(self, "{drops} (local.get $ended))");
    }

    /// A function that does what a script says. At its end it succeeds, or fails with the news that
    /// nothing was refused.
    fn function(&mut self, name: &str, export: &Export, script: &[Statement], succeeds: bool) {
        line!(self, "(func {name} (result i32) (local $times i32)");
        let mut kept: Vec<_> = script.iter().filter_map(|it| it.kept.as_deref()).collect();
        kept.sort_unstable();
        kept.dedup();
        for name in kept.iter().filter(|name| **name != "none") {
            line!(self, "(local ${name} i32)");
        }
        let result = export.function.result.as_ref().expect("all of them have one");
        let payload = self.surface.payload(result);
        for statement in script {
            line!(self, "(global.set $heap (i32.const {HEAP}))");
            line!(self, "(local.set $times (i32.const {})) (loop $again", statement.times);
            self.statement(statement, payload);
            line!(
                self,
                "(br_if $again (local.tee $times (i32.sub (local.get $times) (i32.const 1)))))"
            );
        }
        if succeeds {
            self.success(result, payload);
        } else {
            let error = self.error("done", "nothing was refused");
            line!(self, "(call $refused (i32.const {error}) (i32.const {payload}))");
        }
        line!(self, ")");
    }

    fn success(&mut self, result: &Type, payload: usize) {
        let Kind::Made(TypeDefKind::Result(result)) = self.surface.kind(result) else {
            panic!("an export returns a result");
        };
        line!(self, "(i32.store8 (i32.const {RETURNED}) (i32.const 0))");
        let at = RETURNED + payload;
        match &result.ok {
            Some(Type::String) => {
                let token = self.text(b"token");
                line!(self, "(i32.store (i32.const {at}) (i32.const {token}))");
                line!(self, "(i32.store (i32.const {}) (i32.const 5))", at + 4);
            }
            Some(Type::Bool) => line!(self, "(i32.store8 (i32.const {at}) (i32.const 1))"),
            Some(Type::U64) => line!(self, "(i64.store (i32.const {at}) (i64.const 134217728))"),
            Some(other) => panic!("nothing is known of {other:?}"),
            None => {}
        }
        line!(self, "(i32.const {RETURNED})");
    }
}

fn types(types: &[WasmType]) -> String {
    types.iter().map(|ty| if *ty == WasmType::I64 { " i64" } else { " i32" }).collect()
}
