//! Every file of `examples/` with the plan it yields on a few hosts, as `virt-launcher plan` prints it.

use camino::{Utf8Path, Utf8PathBuf};
use tests::binary;

/// A plain pod, one on two nodes with pages, one with CPUs of four nodes, one under cgroup v1 with two CPUs.
const HOSTS: [&str; 4] = ["one-node", "two-node", "epyc-nps4", "cgroup-v1"];

fn top() -> &'static Utf8Path {
    Utf8Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
}

fn examples() -> Vec<Utf8PathBuf> {
    let entries = top().join("examples").read_dir_utf8().expect("examples");
    let mut files: Vec<Utf8PathBuf> = entries
        .map(|entry| entry.expect("an entry").into_path())
        .filter(|path| matches!(path.extension(), Some("json" | "yaml")))
        .collect();
    files.sort();
    files
}

/// Exit code and what was printed.
fn plan(example: &Utf8Path, host: &str, output: &str) -> (i32, String) {
    let done = std::process::Command::new(binary::virt_launcher())
        .args([
            "plan",
            "--vmi",
            example.as_str(),
            "--output",
            output,
            "--host",
        ])
        .arg(top().join("tests/hosts").join(host))
        .output()
        .expect("the program starts");
    let printed = String::from_utf8(done.stdout).expect("UTF-8");
    (done.status.code().expect("an exit code"), printed)
}

#[test]
fn every_example_on_a_few_hosts() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("plans");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let examples = examples();
    assert!(examples.len() >= 3, "{examples:?}");
    for example in &examples {
        for host in HOSTS {
            let (code, text) = plan(example, host, "text");
            let (again, json) = plan(example, host, "json");
            assert_eq!(code, again, "{example} on {host}");
            let name = example.file_name().expect("a name");
            // Two files that say the same have one golden.
            let stem = example.file_stem().expect("a stem");
            let golden = if code == 0 { text } else { json.clone() };
            settings.bind(|| {
                insta::allow_duplicates! {
                    insta::assert_snapshot!(
                        format!("{stem}-on-{host}"),
                        format!("exit code {code}\n\n{golden}")
                    );
                }
            });
            let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
            for key in documented(code) {
                assert!(json.get(key).is_some(), "{name} on {host} lacks `{key}`");
            }
        }
    }
}

/// The README's words.
fn documented(code: i32) -> &'static [&'static str] {
    match code {
        0 => &["argv", "placement", "network", "storage", "notices"],
        3 => &["violations"],
        other => panic!("exit code {other}"),
    }
}

/// The annotation's word, and the option that goes before it.
#[test]
fn the_option_goes_before_the_annotation() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = Utf8PathBuf::from_path_buf(directory.path().join("vmi.yaml")).expect("UTF-8");
    let example =
        std::fs::read_to_string(top().join("examples/dedicated.yaml")).expect("it is there");
    let annotated = example.replacen(
        "metadata:\n",
        "metadata:\n  annotations: {virt-launcher.kubevirt.io/placement-policy: none}\n",
        1,
    );
    std::fs::write(&path, annotated).expect("it can be written");
    let policy = |more: &[&str]| {
        let done = std::process::Command::new(binary::virt_launcher())
            .args(["plan", "--vmi", path.as_str(), "--output", "json", "--host"])
            .arg(top().join("tests/hosts/two-node"))
            .args(more)
            .output()
            .expect("the program starts");
        let json: serde_json::Value = serde_json::from_slice(&done.stdout).expect("JSON");
        json["placement"]["policy"]
            .as_str()
            .expect("a policy")
            .to_owned()
    };
    assert_eq!(policy(&[]), "none");
    assert_eq!(policy(&["--placement-policy", "strict"]), "strict");
}
