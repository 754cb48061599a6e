//! What is no recording, and what is said where a driver does something else than is on record.

use super::*;

const CALL: &str = "[[call]]\nname = \"n\"\nvolume = \"pv-1\"\n";

fn parse(rest: &str) -> Result<Call, String> {
    let parsed = Recording::parse(&format!("{CALL}{rest}"));
    parsed.map(|mut recording| recording.calls.remove(0)).map_err(|error| error.to_string())
}

fn player(rest: &str) -> Player {
    Player::new(parse(rest).expect(rest))
}

#[test]
fn a_mistake_is_told_with_its_line_and_what_would_be_right() {
    let host_call = |text: &str| format!("operation = \"unmount\"\nhost-calls = [\n{text}\n]\n");
    for (rest, told) in [
        ("", "line 1: missing field `operation`"),
        ("operation = \"init\"", "line 4: unknown variant `init`, expected one of `attach`, "),
        ("operation = \"unmount\"\nhost_calls = []", "line 5: unknown field `host_calls`, "),
        ("operation = \"unmount\"\nnode = \"a\"", "line 1: unmount has no `node`"),
        ("operation = \"unmount\"\nfs-group = 1", "line 1: unmount has no `fs-group`"),
        ("operation = \"detach\"", "line 1: detach needs `node`"),
        ("operation = \"expandfs\"\nnew-size = 1", "line 1: expandfs needs `old-size`"),
        ("operation = \"mount\"\non-record = false", "line 1: mount has no `on-record`"),
        ("operation = \"mount\"", "line 1: mount succeeds only with `mount-target.attach`, or "),
        ("operation = \"unmount\"\nreturns = 1", "line 1: unmount returns nothing"),
        ("operation = \"waitforattach\"", "line 1: waitforattach returns 1 to 256 bytes of "),
        ("operation = \"attach\"\nnode = \"a\"\nreturns = \"a b\"", "line 1: attach returns 1 to "),
        (
            "operation = \"unmount\"\nfails = { code = \"nope\", reason = \"r\" }",
            "line 5: unknown code `nope`; valid: cancelled, unknown, ",
        ),
        (
            "operation = \"unmount\"\nfails = { code = \"internal\", reason = \"A b\" }",
            "line 5: a reason is 1 to 64 of a-z, 0-9, `-`, `.` and `:`; the host replaces any other",
        ),
        (
            &host_call("{ cal = \"x\" }"),
            "line 1: host call 1: a host call has its function's name as `call`, ",
        ),
        (
            &host_call("{ call = \"image.open\" }"),
            "line 1: host call 1: unknown host call `image.open`; valid: ",
        ),
        (
            &host_call("{ call = \"images.open\", returns = \"i\" }"),
            "line 1: host call 1: images.open lacks its argument `name`",
        ),
        (
            &host_call("{ call = \"images.open\", name = \"a\", size = 1, returns = \"i\" }"),
            "line 1: host call 1: images.open has no argument `size`; valid: name",
        ),
        (
            &host_call("{ call = \"images.open\", name = 1, returns = \"i\" }"),
            "line 1: host call 1: `name` of images.open is a text",
        ),
        (
            &host_call("{ call = \"images.open\", name = \"a\" }"),
            "line 1: host call 1: images.open returns something that a name is to be given, such as \"it\"",
        ),
        (
            &host_call("{ call = \"mount-target.unmount\", returns = true }"),
            "line 1: host call 1: mount-target.unmount returns nothing",
        ),
        (
            &host_call("{ call = \"state.put\", key = \"k\", value = { hex = \"0\" } }"),
            "line 1: host call 1: `value` of state.put is a text, or bytes such as { hex = \"00ff\" }",
        ),
        (
            &host_call("{ call = \"mount-target.unmount\", fails = { code = \"internal\" } }"),
            "line 1: host call 1: missing field `reason`",
        ),
    ] {
        let error = parse(rest).expect_err(rest);
        assert!(error.starts_with(told), "{error:?} is not {told:?}");
    }
}

#[test]
fn every_kind_of_answer_is_given() {
    let mut player = player(
        r#"operation = "mountdevice"
        host-calls = [
            { call = "state.get", key = "a", returns = { hex = "00ff" } },
            { call = "state.get", key = "a", returns = "text" },
            { call = "state.get", key = "a" },
            { call = "state.put", key = "a", value = "b" },
            { call = "devices.find", rule = "r", id = "i" },
            { call = "devices.wait", rule = "r", id = "i", milliseconds = 5, returns = "sda" },
            { call = "block-device.size", device = "sda", returns = 512 },
            { call = "block-device.is-read-only", device = "sda", returns = false },
            { call = "block-device.probe", device = "sda", returns = "xfs" },
            { call = "mounts-block.mount", device = "sda", fs-type = "xfs", access = "read-only", options = ["noatime"], returns = "mount" },
            { call = "mount-target.attach", pending = "mount", fails = { code = "internal", reason = "r" } },
        ]
        fails = { code = "internal", reason = "r" }"#,
    );
    let get = || Asked::new("state.get").text("key", "a");
    let find = |name| Asked::new(name).text("rule", "r").text("id", "i");
    let failure =
        Failure { code: "internal".to_owned(), reason: "r".to_owned(), message: String::new() };
    for (asked, answer) in [
        (get(), Answer::Bytes(Some(vec![0, 255]))),
        (get(), Answer::Bytes(Some(b"text".to_vec()))),
        (get(), Answer::Bytes(None)),
        (Asked::new("state.put").text("key", "a").bytes("value", b"b"), Answer::Done),
        (find("devices.find"), Answer::Device(None)),
        (
            find("devices.wait").number("milliseconds", 5_u32),
            Answer::Device(Some(Held { number: 6, name: "sda".to_owned() })),
        ),
        (Asked::new("block-device.size").held("device", 6), Answer::Number(512)),
        (Asked::new("block-device.is-read-only").held("device", 6), Answer::Flag(false)),
        (Asked::new("block-device.probe").held("device", 6), Answer::Text(Some("xfs".to_owned()))),
        (
            Asked::new("mounts-block.mount")
                .held("device", 6)
                .text("fs-type", "xfs")
                .text("access", "read-only")
                .names("options", &["noatime".to_owned()]),
            Answer::Handle(Held { number: 10, name: "mount".to_owned() }),
        ),
        (Asked::new("mount-target.attach").held("pending", 10), Answer::Failed(failure.clone())),
    ] {
        assert_eq!(player.ask(&asked), Ok(answer));
    }
    // Where no message is on record, any will do.
    let failure = Failure { message: "whatever".to_owned(), ..failure };
    assert_eq!(player.finish(&Outcome::Failed(failure)), Ok(()));
}

#[test]
fn something_else_than_is_on_record_is_told_in_the_words_of_a_recording() {
    let attach = "operation = \"attach\"\nnode = \"b\"\nhost-calls = [\n{ call = \"images.open\", \
                  name = \"a\", returns = \"image\" },\n{ call = \"image.lease\", image = \"image\", \
                  node = \"b\" },\n]\nreturns = \"a\"\n";
    let open = || Asked::new("images.open").text("name", "a");
    let lease = || Asked::new("image.lease").held("image", 1).text("node", "b");
    let told = |mismatch: Mismatch| mismatch.to_string();

    let mut other = player(attach);
    other.log("info", "looking for it");
    let asked = Asked::new("images.create").text("name", "a").number("size", 5_u64);
    assert_eq!(
        other.ask(&asked).map_err(told),
        Err("  host call 1\n    recorded  { call = \"images.open\", name = \"a\" }\n    asked     { \
             call = \"images.create\", name = \"a\", size = 5 }\n    log       info: looking for it"
            .to_owned())
    );

    let mut short = player(attach);
    assert!(short.ask(&open()).is_ok());
    assert_eq!(
        short.finish(&Outcome::Attachment("a".to_owned())).map_err(told),
        Err("  host call 2\n    recorded  { call = \"image.lease\", image = \"image\", node = \"b\" \
             }\n    ended     without it"
            .to_owned())
    );

    let mut long = player(attach);
    assert!(long.ask(&open()).is_ok() && long.ask(&lease()).is_ok());
    assert_eq!(
        long.ask(&Asked::new("image.size").held("image", 1)).map_err(told),
        Err("  host call 3\n    recorded  no further host call\n    asked     { call = \
             \"image.size\", image = \"image\" }"
            .to_owned())
    );

    let mut wrong = player(attach);
    assert!(wrong.ask(&open()).is_ok() && wrong.ask(&lease()).is_ok());
    let failure = Failure {
        code: "internal".to_owned(),
        reason: "r".to_owned(),
        message: "it \"broke\"".to_owned(),
    };
    assert_eq!(
        wrong.finish(&Outcome::Failed(failure)).map_err(told),
        Err("  the end\n    recorded  returns = \"a\"\n    ended     fails = { code = \"internal\", \
             reason = \"r\", message = \"it \\\"broke\\\"\" }"
            .to_owned())
    );
    assert!(wrong.finish(&Outcome::Attachment("a".to_owned())).is_ok());
}

#[test]
fn a_message_on_record_has_to_be_the_drivers() {
    let call =
        "operation = \"unmount\"\nfails = { code = \"internal\", reason = \"r\", message = \"m\" }";
    let failed = |message: &str| {
        let (code, reason) = ("internal".to_owned(), "r".to_owned());
        player(call).finish(&Outcome::Failed(Failure { code, reason, message: message.to_owned() }))
    };
    assert!(failed("m").is_ok() && failed("n").is_err());
}

#[test]
fn what_is_written_reads_the_same() {
    let text = r#"
[[recorded]]
id = "ab\"\n"
time = "2026-11-21T10:31:05Z"
driver = "example.com/it"
version = "0123456789abcdef"
component = "sha256:00"
wasmount = "0.1.0"
wasmtime = "48.0.8"
operation = "mount"
volume = "pv-1"
node-only = true
host = ["mounts it", "é"]
reply = '{"status":"Success"}'
reply-follows = false
exit = 1

[[call]]
name = "all of it"
part-of = "ab\"\n"
operation = "mount"
volume = "pv-1"
options = { "a b" = "\u001b", "" = "" }
fs-type = "xfs"
access = "read-only"
fs-group = 5
pod = { name = "p", service-account = "s" }
secret-keys = ["a", "b"]
config = { c = "d" }
limits = { memory = 1, cpu-seconds = 2 }
host-calls = [
    { call = "secrets.open", key = "a", returns = "secret" },
    { call = "secret.reveal", secret = "secret", returns = { hex = "ff" } },
    { call = "mounts-tmpfs.create", size = 5, mode = 0o777, group = 7, returns = "mount" },
    { call = "mount-target.is-mounted", returns = false },
    { call = "block-device.probe", device = "?" },
    { call = "devices.find", rule = "r", id = "i", fails = { code = "internal", reason = "r", message = "m" } },
    { call = "mounts-tmpfs.write-file", pending = "mount", name = "n", contents = "c", mode = 0, ends = true },
]
ended = { code = "internal", reason = "component-fault" }

[[call]]
name = "a crash"
operation = "expandvolume"
volume = "pv-1"
new-size = 2
old-size = 1
crashes = "gave up"

[[call]]
name = "elsewhere"
operation = "detach"
volume = "pv-1"
node = "n"
on-record = false
host-calls = [{ call = "state.get", key = "k" }]
"#;
    let read = Recording::parse(text).expect("valid");
    let mut written: String = read.recorded.iter().map(Recorded::to_string).collect();
    written.extend(read.calls.iter().map(Call::to_string));
    assert_eq!(Recording::parse(&written).expect(&written), read);
}

#[test]
fn what_is_no_file_or_too_long_is_not_read() {
    let refused = |path: &std::path::Path| Recording::read(path).map_err(|error| error.to_string());
    let zeroes = std::path::Path::new("/dev/zero");
    assert_eq!(refused(zeroes), Err("/dev/zero: it is not a regular file".to_owned()));
    let path = std::env::temp_dir().join(format!("too-long-{}.toml", std::process::id()));
    let file = std::fs::File::create(&path).expect("a file");
    file.set_len(crate::MAX_RECORDING + 1).expect("a hole");
    let told = refused(&path);
    std::fs::remove_file(&path).expect("removed");
    let expected = format!("{}: it is longer than 67108864 bytes", path.display());
    assert_eq!(told, Err(expected));
}
