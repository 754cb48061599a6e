//! Decisions as data: `tests/decisions.toml` has requests, grants and circumstances, and what is
//! said to them, word for word.

mod advised;
mod fixture;

use serde::Deserialize;

use super::*;
use crate::call::Operation;
use crate::grants::SECTIONS;
use fixture::{Scene, sample_requests};

const CASES: &str = include_str!("../../tests/decisions.toml");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    /// The grants that a case names.
    grants: std::collections::BTreeMap<String, String>,
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// The request, as it is on the wire.
    call: String,
    #[serde(rename = "in")]
    operation: Operation,
    grants: String,
    /// Circumstances, as [`Scene::add`] knows them.
    #[serde(default)]
    with: Vec<String>,
    says: String,
}

impl Cases {
    fn read() -> Self {
        toml::from_str(CASES).expect("decisions.toml")
    }
}

impl Case {
    fn request(&self) -> Request {
        serde_json::from_str(&self.call).unwrap_or_else(|e| panic!("{}: {e}", self.call))
    }

    fn decide(&self, grants: &str) -> Result<Act, No> {
        let mut scene = Scene::new(self.operation, grants);
        self.with.iter().for_each(|circumstance| scene.add(circumstance));
        let (session, mut handles) = scene.set();
        decide(&session, &mut handles, self.request())
    }
}

/// A decision in one line.
fn said(decision: &Result<Act, No>) -> String {
    match decision {
        Ok(Act::Answer(response)) => {
            format!("answer {}", serde_json::to_string(response).expect("it serialises"))
        }
        Ok(act) => act.name().to_owned(),
        Err(No::Refused(Failure { code, reason, message })) => {
            let code = serde_json::to_value(code).expect("it serialises");
            format!("{} {reason}: {message}", code.as_str().expect("a name"))
        }
        Err(No::Fault(text)) => format!("fault: {text}"),
    }
}

#[test]
fn decisions_are_as_written() {
    let cases = Cases::read();
    let mut wrong = Vec::new();
    for case in &cases.case {
        let said = said(&case.decide(&cases.grants[&case.grants]));
        if said != case.says {
            let Case { call, operation, with, .. } = case;
            wrong.push(format!("{call} in {operation:?} with {with:?}\n  {said}\n  {}", case.says));
        }
    }
    assert!(wrong.is_empty(), "request, decision, expected:\n{}", wrong.join("\n"));
}

/// What is printed to the operator does what it says: with it, the request is not refused for
/// the same reason.
#[test]
fn advice_allows_what_was_asked() {
    let cases = Cases::read();
    let mut refusals = 0;
    for case in &cases.case {
        let grants = &cases.grants[&case.grants];
        let Err(No::Refused(refused)) = case.decide(grants) else { continue };
        if !refused.reason.starts_with("grant:") {
            continue;
        }
        refusals += 1;
        let advised = advised::apply(grants, &refused.message);
        let parsed = crate::grants::Grants::parse(&advised);
        assert!(parsed.is_ok(), "{}\n{advised}\n{parsed:?}", refused.message);
        if let Err(No::Refused(again)) = case.decide(&advised) {
            assert_ne!(again.code, Code::PermissionDenied, "{}\n{again}\n{advised}", case.call);
        }
    }
    assert!(refusals > 20, "only {refusals} refusals");
}

/// Every function that can be refused is refused somewhere and allowed somewhere.
#[test]
fn every_function_has_both_decisions() {
    let cases = Cases::read();
    for request in sample_requests() {
        let of = |case: &&Case| function(&case.request()) == function(&request);
        let yes = |case: &&Case| !case.says.contains(": ");
        assert!(cases.case.iter().filter(of).any(|c| yes(&c)), "{} yes", function(&request));
        let needs_grant =
            SECTIONS.iter().any(|section| section.functions.contains(&function(&request)));
        let denied = |case: &&Case| case.says.starts_with("permission-denied grant:");
        // What needs a handle is refused where the handle is had from.
        if needs_grant && !fixture::needs_handle(&request) {
            assert!(cases.case.iter().filter(of).any(|c| denied(&c)), "{} no", function(&request));
        }
    }
}

/// What is not listed may be called in any operation, what is listed in no other one.
#[test]
fn functions_keep_to_their_operations() {
    for request in sample_requests() {
        let phases = PHASES.iter().find(|(name, _)| *name == function(&request));
        for operation in Operation::ALL {
            let (session, mut handles) = Scene::new(operation, fixture::EVERYTHING).set();
            let decision = decide(&session, &mut handles, request.clone());
            let refused = matches!(&decision, Err(No::Refused(f)) if f.reason == "wrong-operation");
            let allowed = phases.is_none_or(|(_, phases)| phases.contains(&operation));
            assert_eq!(refused, !allowed, "{request:?} in {operation:?}");
        }
    }
    for (name, _) in PHASES {
        assert!(sample_requests().iter().any(|request| function(request) == *name), "{name}");
    }
}

/// Every function that the table of sections names is one of the wire.
#[test]
fn sections_name_real_functions() {
    for name in SECTIONS.iter().flat_map(|section| section.functions) {
        assert!(sample_requests().iter().any(|request| function(request) == *name), "{name}");
    }
}

#[test]
fn what_is_granted_is_what_was_asked() {
    let (session, mut handles) = Scene::new(Operation::MountDevice, fixture::EVERYTHING).set();
    let mut ask = |request| decide(&session, &mut handles, request).expect("granted");

    let find =
        Request::DevicesWait { rule: "nvme".into(), id: "vol-1".into(), milliseconds: 90_000 };
    let Act::DeviceWait(query, time) = ask(find) else { panic!("not a wait") };
    let query = query.into_inner();
    assert_eq!(query.path.to_str(), Some("/dev/disk/by-id/nvme-vol-1"));
    assert_eq!(query.attribute.to_str(), Some("device/serial"));
    assert_eq!((query.value.as_str(), query.rule.as_str()), ("vol-1", "nvme"));
    assert_eq!(time, Duration::from_secs(60));

    let lease = Request::ImageLease { image: fixture::IMAGE, node: "node-1".into() };
    let Act::ImageLease(lease) = ask(lease) else { panic!("not a lease") };
    let lease = lease.into_inner();
    assert_eq!(
        (&*lease.driver, &*lease.volume, &*lease.node),
        ("example.com/demo", "pv-1", "node-1")
    );
}

/// A new format gets a UUID that nobody had before; one that is resumed keeps its own, by which
/// what it left is known.
#[test]
fn a_format_is_known_by_its_uuid() {
    let granted = |with: &[&str]| {
        let mut scene = Scene::new(Operation::MountDevice, fixture::EVERYTHING);
        with.iter().for_each(|circumstance| scene.add(circumstance));
        let (session, mut handles) = scene.set();
        let (device, fs_type) = (fixture::DEVICE, "ext4".to_owned());
        let request = Request::FilesystemsFormat { device, fs_type, options: vec![] };
        let Ok(Act::Format(format)) = decide(&session, &mut handles, request) else {
            panic!("not granted with {with:?}")
        };
        let Format { resume, uuid, .. } = format.into_inner();
        (resume, uuid)
    };
    let (first, second) = (granted(&[]), granted(&[]));
    assert!(!first.0 && !second.0);
    assert_ne!(first.1, second.1);
    assert_eq!(granted(&["half-formatted"]), (true, fixture::HALF_FORMATTED.to_owned()));
}

#[test]
fn a_secret_is_written_and_a_tmpfs_sealed_where_the_volume_is_read_only() {
    let mut scene = Scene::new(Operation::Mount, fixture::EVERYTHING);
    scene.add("read-only");
    let (session, mut handles) = scene.set();
    let write = Request::TmpfsWriteSecret {
        pending: fixture::TMPFS,
        name: "password".into(),
        secret: fixture::SECRET,
        mode: 0o400,
    };
    match decide(&session, &mut handles, write) {
        Ok(Act::TmpfsWrite(file)) => assert_eq!(file.into_inner().contents, b"hunter2"),
        other => panic!("{other:?}"),
    }
    match decide(&session, &mut handles, Request::TargetAttach { pending: fixture::TMPFS }) {
        Ok(Act::TargetAttach { seal: Some(_), .. }) => {}
        other => panic!("{other:?}"),
    }
    // The mount is spent, and the directory taken.
    let again = decide(&session, &mut handles, Request::TargetAttach { pending: fixture::TMPFS });
    assert_eq!(said(&again), "fault: it used handle 3, which it does not hold");
    let other = decide(&session, &mut handles, Request::TargetAttach { pending: fixture::PENDING });
    assert!(said(&other).starts_with("failed-precondition attached-already"), "{other:?}");
}

/// The parser refuses such an entry; the decision does not rely on it.
#[test]
fn no_pattern_lets_a_secret_be_read() {
    use crate::grants::{KeyPattern, SecretGrant, Use};
    let (mut session, mut handles) = Scene::new(Operation::Mount, fixture::EVERYTHING).set();
    let key = KeyPattern::try_from("*".to_owned()).expect("valid");
    let grants = std::rc::Rc::make_mut(&mut session.grants);
    grants.secrets = vec![SecretGrant { key, uses: vec![Use::Reveal, Use::File] }];
    let reveal = Request::SecretReveal { secret: fixture::SECRET };
    let decision = said(&decide(&session, &mut handles, reveal));
    assert!(decision.starts_with("permission-denied grant:secrets.reveal"), "{decision}");
}

#[test]
fn what_a_component_holds_and_asks_is_bounded() {
    let (session, mut handles) = Scene::new(Operation::Mount, fixture::EVERYTHING).set();
    while handles.insert(Held::Secret("password".into())).is_ok() {}
    let open = Request::SecretsOpen { key: "password".into() };
    let full = decide(&session, &mut handles, open.clone());
    assert_eq!(said(&full), "fault: it holds 64 handles and asks for more");
    let dropped = decide(&session, &mut handles, Request::Drop { handle: fixture::SECRET });
    assert_eq!(said(&dropped), "answer {\"answer\":\"done\"}");
    assert_eq!(said(&decide(&session, &mut handles, open)), "hold");
    let again = decide(&session, &mut handles, Request::Drop { handle: fixture::SECRET });
    assert_eq!(said(&again), "fault: it used handle 5, which it does not hold");

    let mut asked = 4;
    while decide(&session, &mut handles, Request::TargetIsMounted).is_ok() {
        asked += 1;
    }
    assert_eq!(asked, MAX_REQUESTS);
}

#[test]
fn a_call_creates_one_image() {
    let (session, mut handles) = Scene::new(Operation::Attach, fixture::EVERYTHING).set();
    let mut create = |name: &str| {
        let request = Request::ImagesCreate { name: name.to_owned(), size: 4096 };
        said(&decide(&session, &mut handles, request))
    };
    assert_eq!(create("a.img"), "image-create");
    assert_eq!(create("a.img"), "image-create");
    assert_eq!(
        create("b.img"),
        "failed-precondition created-already: the component has created the image `a.img` and \
         wants another; a volume has one"
    );
}

#[test]
fn the_host_takes_down_what_is_recorded_and_nothing_else() {
    let scene = |operation, with: &[&str]| {
        let mut scene = Scene::new(operation, "version = 1");
        with.iter().for_each(|circumstance| scene.add(circumstance));
        scene.set().0
    };
    let reason = |failure: Failure| failure.reason;
    assert!(host::unmount(&scene(Operation::Unmount, &[])).is_ok());
    assert_eq!(
        host::unmount(&scene(Operation::Mount, &[])).map_err(reason).err().as_deref(),
        Some("wrong-operation")
    );
    assert!(host::detach(&scene(Operation::UnmountDevice, &[])).is_none());
    assert!(host::detach(&scene(Operation::UnmountDevice, &["device"])).is_some());
    // Where no image is on record and none is granted, there is nothing to release.
    let release = |operation, with: &[&str]| {
        host::release(&scene(operation, with)).map(|release| release.is_some()).map_err(reason)
    };
    assert_eq!(release(Operation::Detach, &[]), Ok(false));
    assert_eq!(release(Operation::Detach, &["device"]), Err("in-use".to_owned()));
    assert_eq!(release(Operation::Unmount, &[]), Err("wrong-operation".to_owned()));
    let composed = |with: &[&str]| {
        let bind = host::composed_mount(&scene(Operation::Mount, with));
        bind.map(|bind| bind.into_inner().access).map_err(reason)
    };
    use crate::call::Access;
    assert_eq!(composed(&[]), Err("not-staged".to_owned()));
    assert_eq!(composed(&["staged"]), Ok(Access::ReadWrite));
    assert_eq!(composed(&["staged", "read-only"]), Ok(Access::ReadOnly));
    assert_eq!(composed(&["staged-read-only"]), Err("staged-read-only".to_owned()));
    assert_eq!(composed(&["staged-read-only", "read-only"]), Ok(Access::ReadOnly));
}

/// What is checked before the component asks is what it would be granted, of a volume that was mounted
/// from this very device before.
#[test]
fn only_what_is_about_to_be_granted_is_checked_ahead() {
    let ahead = |operation, grants: &str, with: &[&str]| {
        let mut scene = Scene::new(operation, grants);
        with.iter().for_each(|circumstance| scene.add(circumstance));
        host::check_ahead(&scene.set().0).is_some()
    };
    let before = ["device", "was-mounted"];
    assert!(ahead(Operation::MountDevice, fixture::EVERYTHING, &before));
    for with in [
        &["device"][..],
        &["was-mounted"],
        &["device", "another-device-was-mounted"],
        &["device", "was-mounted", "read-only"],
        &["device", "was-mounted", "half-formatted"],
        &["device", "was-mounted", "wants-xfs"],
    ] {
        assert!(!ahead(Operation::MountDevice, fixture::EVERYTHING, with), "{with:?}");
    }
    for operation in [Operation::WaitForAttach, Operation::Mount, Operation::UnmountDevice] {
        assert!(!ahead(operation, fixture::EVERYTHING, &before), "{operation:?}");
    }
    for (is, less) in [("check = true\n", ""), ("types = [\"ext4\"]", "types = [\"xfs\"]")] {
        let grants = fixture::EVERYTHING.replacen(is, less, 1);
        assert!(!ahead(Operation::MountDevice, &grants, &before), "{less}");
    }
}

#[test]
fn the_audit_view_has_no_bytes() {
    for (request, view) in [
        (
            Request::StatePut { key: "k".into(), value: Bytes(b"hunter2".to_vec()) },
            r#"{"bytes":7,"call":"state.put","key":"k"}"#,
        ),
        (
            Request::Log { level: Level::Warn, message: "hunter2".into() },
            r#"{"bytes":7,"call":"log.write","level":"warn"}"#,
        ),
        (
            Request::TmpfsWriteFile {
                pending: fixture::TMPFS,
                name: "f".into(),
                contents: Bytes(b"hunter2".to_vec()),
                mode: 0o400,
            },
            r#"{"bytes":7,"call":"mounts-tmpfs.write-file","mode":256,"name":"f","pending":3}"#,
        ),
        (
            Request::DevicesFind { rule: "nvme".into(), id: "vol-1".into() },
            r#"{"call":"devices.find","id":"vol-1","rule":"nvme"}"#,
        ),
        (Request::ImagesDetach, r#"{"call":"images.detach"}"#),
    ] {
        assert_eq!(audit_view(&request).to_string(), view);
    }
}

#[test]
fn the_audit_log_has_what_handles_stand_for() {
    let (session, handles) = Scene::new(Operation::Mount, fixture::EVERYTHING).set();
    for (request, view) in [
        (
            Request::ImageSize { image: fixture::IMAGE },
            r#"{"call":"image.size","image":"pv-1.img"}"#,
        ),
        (
            Request::DeviceSize { device: fixture::DEVICE },
            r#"{"call":"block-device.size","device":"image:1"}"#,
        ),
        (
            Request::SecretReveal { secret: fixture::SECRET },
            r#"{"call":"secret.reveal","secret":"password"}"#,
        ),
        (
            Request::SecretReveal { secret: crate::wire::Handle(77) },
            r#"{"call":"secret.reveal","secret":77}"#,
        ),
        (
            Request::ImagesOpen { name: "pv-1.img".into() },
            r#"{"call":"images.open","directory":"/usr","name":"pv-1.img"}"#,
        ),
        (Request::FilesystemsGrow, r#"{"call":"filesystems.grow","fs_type":null}"#),
    ] {
        assert_eq!(audit_view_in(&session, &handles, &request).to_string(), view);
    }
}
