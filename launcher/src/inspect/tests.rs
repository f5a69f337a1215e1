//! Tables, JSON, checks and finding, against a fake monitor that answers as a q35 of QEMU 10.0.2 did.

use camino::{Utf8Path, Utf8PathBuf};
use clap::Parser;
use qmp::fake::{Call, Fake};
use serde_json::{Value, json};
use tokio::net::UnixListener;

use super::*;

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    args: InspectArgs,
}

struct Place {
    root: Utf8PathBuf,
    _dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let root = Utf8PathBuf::from_path_buf(dir.path().to_owned()).expect("utf-8");
        Self { root, _dir: dir }
    }

    /// A listening monitor below the root.
    fn listen(&self, path: &str) -> UnixListener {
        let path = self.root.join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        UnixListener::bind(path).expect("bound")
    }

    fn search(&self) -> Search {
        Search {
            runs: self.root.join("runs"),
            private: self.root.join("pod"),
        }
    }

    /// Runs `virt-launcher qmp` with these words; what it printed.
    async fn run(&self, words: &[&str]) -> Result<String, InspectError> {
        let cli = Cli::try_parse_from(["qmp"].iter().chain(words)).expect("a command line");
        let mut out = Vec::new();
        run(&cli.args, &self.search(), &mut out).await?;
        Ok(String::from_utf8(out).expect("utf-8"))
    }
}

/// Answers like the QEMU whose answers lie in `testdata`, from now on and to everybody.
fn serve(listener: UnixListener) {
    let answers: Value = serde_json::from_str(include_str!("testdata/q35.json")).expect("JSON");
    serve_with(listener, move |call| {
        let mut key = call.name.clone();
        for argument in ["path", "property"] {
            if let Some(value) = call.arguments[argument].as_str() {
                key += &format!(" {value}");
            }
        }
        match &answers[&key] {
            Value::Null => Err(("GenericError".into(), format!("nothing is known of {key}"))),
            value => Ok(value.clone()),
        }
    });
}

fn serve_with(
    listener: UnixListener,
    mut answer: impl FnMut(&Call) -> Result<Value, (String, String)> + Send + 'static,
) {
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a client");
            let mut fake = Fake::new(stream);
            // A client that only looks whether somebody listens leaves before that.
            if fake.negotiate(true).await.is_ok() {
                fake.serve(&mut answer).await.expect("served");
            }
        }
    });
}

fn schema() -> Value {
    json!([
        {"name": "str", "meta-type": "builtin", "json-type": "string"},
        {"name": "0", "meta-type": "object", "members": []},
        {"name": "1", "meta-type": "object", "members": [
            {"name": "id", "type": "str", "features": ["deprecated"]},
            {"name": "force", "type": "2", "default": null}]},
        {"name": "2", "meta-type": "enum", "values": ["on", "off"], "members": [{"name": "on"}, {"name": "off"}]},
        {"name": "query-name", "meta-type": "command", "arg-type": "0", "ret-type": "0"},
        {"name": "eject", "meta-type": "command", "arg-type": "1", "ret-type": "0", "allow-oob": true},
        {"name": "STOP", "meta-type": "event", "arg-type": "0"},
    ])
}

/// A place with a monitor that knows the small schema and answers everything else with its own question.
fn echoing() -> Place {
    let place = Place::new();
    serve_with(place.listen("pod/qmp.sock"), |call| {
        Ok(match call.name.as_str() {
            "query-qmp-schema" => schema(),
            name => json!({"asked": name, "with": call.arguments}),
        })
    });
    place
}

#[tokio::test]
async fn tables() {
    let place = Place::new();
    serve(place.listen("pod/qmp.sock"));
    for subject in [
        "status",
        "cpus",
        "memory",
        "block",
        "pci",
        "net",
        "iothreads",
        "migration",
    ] {
        let text = place.run(&[subject]).await.expect(subject);
        insta::assert_snapshot!(subject, text);
    }
}

#[tokio::test]
async fn json_is_qemus_own() {
    let place = Place::new();
    serve(place.listen("pod/qmp.sock"));
    let answers: Value = serde_json::from_str(include_str!("testdata/q35.json")).expect("JSON");
    let text = place
        .run(&["cpus", "--output", "json"])
        .await
        .expect("an answer");
    let shown: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(shown["query-cpus-fast"], answers["query-cpus-fast"]);
    let text = place
        .run(&["--output", "json", "net"])
        .await
        .expect("an answer");
    let shown: Value = serde_json::from_str(&text).expect("JSON");
    let nic = json!({"id": "ua-default", "type": "virtio-net-pci", "mac": "52:54:00:12:34:56", "netdev": "hostua1"});
    assert_eq!(shown["nics"], json!([nic]));
}

#[test]
fn answers_of_any_shape_make_tables() {
    let subjects = [
        Subject::Status,
        Subject::Cpus,
        Subject::Memory,
        Subject::Block,
        Subject::Pci,
        Subject::Net,
        Subject::Iothreads,
        Subject::Migration,
    ];
    let questions = include_str!("testdata/q35.json");
    let questions: serde_json::Map<String, Value> = serde_json::from_str(questions).expect("JSON");
    for odd in [
        json!(null),
        json!([]),
        json!({}),
        json!([null, 3, "\u{1b}[0m", [[]]]),
        json!("x"),
        json!(-1),
    ] {
        let all: Value = questions
            .keys()
            .map(|key| (key.clone(), odd.clone()))
            .collect::<serde_json::Map<_, _>>()
            .into();
        for subject in &subjects {
            let text = sheet::render(&sheets::of(subject, &ask::Answers::from_json(all.clone())));
            assert!(!text.contains('\u{1b}'), "{subject:?}");
        }
    }
}

#[tokio::test]
async fn what_a_guest_named_does_not_reach_the_terminal() {
    let place = Place::new();
    serve_with(place.listen("pod/qmp.sock"), |call| {
        match call.name.as_str() {
            "query-name" => Ok(json!({"name": "vm\u{1b}]0;owned\u{7}\u{202e}"})),
            name => Err(("GenericError".into(), format!("{name}\u{1b}[2J"))),
        }
    });
    for words in [
        ["status", "--output", "table"],
        ["status", "--output", "json"],
    ] {
        let text = place.run(&words).await.expect("an answer");
        assert!(text.contains("owned"), "{text}");
        assert!(!text.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{text:?}");
    }
    let error = place.run(&["pci"]).await.expect_err("refused");
    assert_eq!(
        error.to_string(),
        "`query-pci` failed: query-pci\\x1b[2J (GenericError)"
    );
}

#[tokio::test]
async fn exec_checks_before_it_sends() {
    let place = echoing();
    let said = |words: Vec<&'static str>| {
        let place = &place;
        async move { place.run(&words).await.expect_err("refused").to_string() }
    };
    assert_eq!(
        said(vec!["exec", "query-nmae"]).await,
        "this QEMU has no command `query-nmae`; did you mean `query-name`?"
    );
    assert_eq!(
        said(vec!["exec", "eject", r#"{"id": "x"}"#]).await,
        "`eject` may change something"
    );
    assert_eq!(
        said(vec![
            "--allow-write",
            "exec",
            "eject",
            r#"{"ID": "x", "force": "onn"}"#
        ])
        .await,
        "the argument `id` is missing\n`force` cannot be `onn`; did you mean `on`?\n`ID` is no argument; did you mean `id`?"
    );
    assert_eq!(
        said(vec!["exec", "query-name", "{"]).await,
        "the arguments of `query-name` are no JSON"
    );
    assert_eq!(
        said(vec!["exec", "query-name", "3"]).await,
        "`arguments` must be an object"
    );
    let text = place.run(&["exec", "query-name"]).await.expect("an answer");
    assert_eq!(
        text,
        "{\n  \"asked\": \"query-name\",\n  \"with\": null\n}\n"
    );
    let words = [
        "exec",
        "eject",
        r#"{"id": "x"}"#,
        "--allow-write",
        "--output",
        "json",
    ];
    let text = place.run(&words).await.expect("an answer");
    assert_eq!(text, "{\"asked\":\"eject\",\"with\":{\"id\":\"x\"}}\n");
}

#[tokio::test]
async fn schema_lists_and_tells() {
    let place = echoing();
    assert_eq!(
        place.run(&["schema"]).await.expect("names"),
        "eject\nquery-name\nSTOP\n"
    );
    insta::assert_snapshot!(
        "schema_command",
        place.run(&["schema", "eject"]).await.expect("a command")
    );
    insta::assert_snapshot!(
        "schema_event",
        place.run(&["schema", "STOP"]).await.expect("an event")
    );
    let text = place
        .run(&["schema", "eject", "--output", "json"])
        .await
        .expect("a command");
    let shown: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        (
            &shown["arguments"][1]["name"],
            &shown["arguments"][1]["optional"]
        ),
        (&json!("force"), &json!(true))
    );
    let error = place.run(&["schema", "ejct"]).await.expect_err("unknown");
    assert_eq!(
        error.to_string(),
        "this QEMU has no command or event `ejct`; did you mean `eject`?"
    );
}

#[tokio::test]
async fn events_follow_to_the_vms_end() {
    let place = Place::new();
    let listener = place.listen("pod/qmp.sock");
    let server = async {
        // The first only looks whether somebody listens here.
        listener.accept().await?;
        let mut fake = Fake::new(listener.accept().await?.0);
        fake.negotiate(true).await?;
        fake.event("STOP", Value::Null).await?;
        fake.event("VSERPORT_CHANGE", json!({"id": "a\u{9b}", "open": true}))
            .await
    };
    let (text, served) = tokio::join!(place.run(&["events"]), server);
    served.expect("served");
    assert_eq!(
        text.expect("followed"),
        "1970-01-01T00:00:01.000002Z  STOP\n\
         1970-01-01T00:00:01.000002Z  VSERPORT_CHANGE  {\"id\":\"a\\u009b\",\"open\":true}\n"
    );
}

#[tokio::test]
async fn the_one_vm_that_runs_is_found() {
    let place = Place::new();
    let error = place.run(&["status"]).await.expect_err("nothing runs");
    assert!(
        matches!(&error, InspectError::NoVm { looked } if looked.len() == 2),
        "{error}"
    );
    assert!(error.hint().is_some());
    // A socket that nobody listens at, as a killed run leaves it.
    drop(place.listen("runs/dead/private/control.sock"));
    // The supervisor's socket goes before the monitor's, at which nobody would answer.
    let _held = place.listen("runs/one/private/uid/qmp.sock");
    serve(place.listen("runs/one/private/control.sock"));
    place.run(&["status"]).await.expect("found");
    // Without a supervisor the monitor itself.
    serve(place.listen("runs/two/private/uid/qmp.sock"));
    let error = place.run(&["status"]).await.expect_err("two run");
    let InspectError::Several { found } = &error else {
        panic!("{error}");
    };
    assert_eq!(
        found,
        &[place.root.join("runs/one"), place.root.join("runs/two")]
    );
    for pod in ["runs/two", "runs/two/private", "runs/one"] {
        place
            .run(&["status", "--pod", place.root.join(pod).as_str()])
            .await
            .expect(pod);
    }
    let socket = place.root.join("runs/two/private/uid/qmp.sock");
    place
        .run(&["--socket", socket.as_str(), "status"])
        .await
        .expect("named");
}

#[tokio::test]
async fn a_pods_root_is_a_place_to_look() {
    let place = Place::new();
    serve(place.listen("root/var/run/kubevirt-private/control.sock"));
    place
        .run(&["status", "--pod", place.root.join("root").as_str()])
        .await
        .expect("found");
    let error = place
        .run(&["status", "--pod", "/nonexistent"])
        .await
        .expect_err("nothing there");
    assert!(
        matches!(&error, InspectError::NoVm { looked } if looked[0] == Utf8Path::new("/nonexistent"))
    );
}

#[tokio::test]
async fn a_path_longer_than_a_socket_address_works() {
    let place = Place::new();
    let deep = "d".repeat(120);
    let directory = place.root.join(&deep);
    std::fs::create_dir(&directory).expect("made");
    // Bound by its short name, and moved.
    serve(place.listen("s"));
    std::fs::rename(place.root.join("s"), directory.join("qmp.sock")).expect("moved");
    place
        .run(&["status", "--pod", directory.as_str()])
        .await
        .expect("found");
}

#[tokio::test]
async fn a_reader_that_leaves_is_no_error() {
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let place = echoing();
    let cli = Cli::try_parse_from(["qmp", "schema"]).expect("a command line");
    run(&cli.args, &place.search(), &mut Gone)
        .await
        .expect("no error");
}
