//! Work on a vendor's bytes in a process of its own: what comes back, what ends it, and that it has
//! nothing. These tests fork, so they run one after another on one thread and without the usual harness.

#![expect(clippy::print_stdout, reason = "what a test harness does")]
#![expect(clippy::expect_used, reason = "tests")]

use std::hint::black_box;

use wasmount_core::failure::{Code, Failure};
use wasmount_core::guest::apart::{Bounds, apart};

const BOUNDS: Bounds = Bounds { cpu_seconds: 1, memory_bytes: 64 << 20, result_bytes: 1 << 20 };

fn main() {
    let tests: &[(&str, fn())] = &[
        ("what_was_made_comes_back", what_was_made_comes_back),
        ("what_ends_it_is_told", what_ends_it_is_told),
        ("it_has_nothing", it_has_nothing),
    ];
    for (name, test) in tests {
        test();
        println!("test {name} ... ok");
    }
}

fn work(work: impl FnOnce() -> Result<Vec<u8>, Failure>) -> Result<Vec<u8>, Failure> {
    apart("reading the component", BOUNDS, || Ok(()), |()| work())
}

fn what_was_made_comes_back() {
    let long = vec![7; BOUNDS.result_bytes as usize];
    for bytes in [vec![], b"result".to_vec(), long] {
        assert_eq!(work(|| Ok(bytes.clone())), Ok(bytes));
    }
    let failure = Failure::new(Code::InvalidArgument, "component", "this is none");
    assert_eq!(work(|| Err(failure.clone())), Err(failure.clone()));
    let loading = apart("reading", BOUNDS, || Err::<(), _>(failure.clone()), |()| Ok(vec![]));
    assert_eq!(loading, Err(failure));
    assert_eq!(apart("reading", BOUNDS, || Ok(1), |loaded| Ok(vec![loaded])), Ok(vec![1]));
}

fn what_ends_it_is_told() {
    let said = |result: Result<Vec<u8>, Failure>| result.expect_err("it was ended").to_string();
    let endless = || loop {
        black_box(());
    };
    assert_eq!(
        said(work(endless)),
        "reading the component takes more than 1 s of processor time (cpu-limit)"
    );
    let hungry = || {
        let mut all = Vec::new();
        loop {
            all.push(black_box(vec![1_u8; 1 << 20]));
        }
    };
    // How a program ends that gets no memory is its own affair.
    let told = said(work(hungry)).replace("SIGSEGV", "SIGABRT");
    assert_eq!(
        told,
        "reading the component was ended by SIGABRT; it may use 64 MiB of memory, and perhaps needs \
         more (died)"
    );
    let talkative = || Ok(vec![0; BOUNDS.result_bytes as usize + 1]);
    assert_eq!(
        said(work(talkative)),
        "reading the component makes more than 1 MiB of it (too-large)"
    );
    let silent = || panic!("told to nobody");
    assert_eq!(
        said(work(silent)),
        "reading the component ended without a result; this is a bug in wasmount (died)"
    );
}

/// As in a guest process: nobody's rights, no file, no network.
fn it_has_nothing() {
    let who = || Ok(rustix::process::geteuid().is_root());
    let tried = apart("reading", BOUNDS, who, |root| {
        let opened = std::fs::File::open("/etc/passwd").is_ok();
        let listed = std::fs::read_dir("/proc").is_ok();
        let bound = std::net::UdpSocket::bind("127.0.0.1:0").is_ok();
        Ok(vec![root.into(), opened.into(), listed.into(), bound.into()])
    });
    assert_eq!(tried, Ok(vec![0; 4]));
}
