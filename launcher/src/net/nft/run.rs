//! The ruleset carried out and read back, through the `nft` binary.

use std::collections::BTreeMap;
use std::io;
use std::process::{Output, Stdio};
use std::time::Duration;

use nftables::schema::{NfListObject, Nftables};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::rules::{self, Family, TABLE};
use crate::net::error::NetError;
use crate::net::plan::NetworkPlan;
use crate::net::undo::Undo;

/// Far more than a transaction takes, which is milliseconds.
const DEADLINE: Duration = Duration::from_secs(10);

/// Makes the planned tables in one transaction and reads back what came of it, noting how to undo it. A table that is as
/// planned is left alone.
pub(in crate::net) async fn apply(
    plan: &NetworkPlan,
    done: &mut Vec<Undo>,
) -> Result<(), NetError> {
    let planned = Family::ALL.map(|family| Some((family, rules::table(plan, family)?)));
    let mut tables: Vec<_> = planned.into_iter().flatten().collect();
    if tables.is_empty() {
        return Ok(());
    }
    // To try costs one `nft`, to look first two, and a new pod has no tables.
    let echo = match run(&rules::creation(tables.clone())).await {
        // The kernel's EEXIST, by strerror.
        Err(NetError::Nft { message, .. }) if message.contains("File exists") => {
            tables = differing(tables).await?;
            if tables.is_empty() {
                return Ok(());
            }
            run(&rules::transaction(tables.clone())).await?
        }
        made => made?,
    };
    done.push(Undo::DeleteTables(
        tables.iter().map(|(family, _)| *family).collect(),
    ));
    let wanted: usize = tables.iter().map(|(_, objects)| objects.len()).sum();
    match confirmed(&echo) == wanted {
        true => Ok(()),
        false => read_back(tables).await,
    }
}

type Tables = Vec<(Family, Vec<NfListObject<'static>>)>;

/// Those of the tables that are not there as given.
async fn differing(tables: Tables) -> Result<Tables, NetError> {
    let mut differing = Vec::new();
    for (family, objects) in tables {
        let wanted = serde_json::to_value(&objects).map_err(NetError::NftOutput)?;
        let found = list(family).await?;
        if found.map(by_chain) != Some(by_chain(wanted)) {
            differing.push((family, objects));
        }
    }
    Ok(differing)
}

/// How many chains and rules the kernel has made: each then has the handle that it gave (nft(8), `--echo`).
pub(super) fn confirmed(echo: &Value) -> usize {
    let commands = echo["nftables"].as_array().into_iter().flatten();
    commands
        .flat_map(|command| [&command["add"]["chain"], &command["add"]["rule"]])
        .filter(|object| object["handle"].is_u64())
        .count()
}

/// Deletes our tables in one transaction; that there are none is no error.
pub(in crate::net) async fn delete(families: &[Family]) -> Result<(), NetError> {
    run(&rules::removal(families)).await.map(drop)
}

/// Chains and rules of our table as `nft` lists them; none when there is no table.
///
/// # Errors
///
/// [`NetError::NftSpawn`], [`NetError::Nft`], [`NetError::NftOutput`].
pub async fn list(family: Family) -> Result<Option<Value>, NetError> {
    let arguments = ["-j", "list", "table", family.name(), TABLE];
    let output = spawn(&arguments, &[]).await?;
    if !output.status.success() {
        // nft has one exit code for everything: only the text tells that there is no table (strerror of ENOENT).
        let failed = failure(&output);
        return match &failed {
            NetError::Nft { message, .. } if message.contains("No such file") => Ok(None),
            _ => Err(failed),
        };
    }
    let mut listing: Value = serde_json::from_slice(&output.stdout).map_err(NetError::NftOutput)?;
    let objects = listing["nftables"].as_array_mut().map(std::mem::take);
    let rules = objects
        .unwrap_or_default()
        .into_iter()
        .filter(|object| object.get("chain").is_some() || object.get("rule").is_some())
        .collect();
    Ok(Some(Value::Array(rules)))
}

/// For an `nft` that echoes no handles: that each table is there with as many rules in each chain as given.
///
/// Versions of `nft` may spell the same rule differently, so its text is not compared.
async fn read_back(tables: Tables) -> Result<(), NetError> {
    for (family, objects) in tables {
        let wanted = count(serde_json::to_value(&objects).map_err(NetError::NftOutput)?);
        let found = list(family).await?.map(count).unwrap_or_default();
        if found != wanted {
            return Err(NetError::NotAsPlanned {
                what: format!("rules a chain of table `{} {TABLE}`", family.name()),
                found: shown(&found),
                wanted: shown(&wanted),
            });
        }
    }
    Ok(())
}

/// For people: `output 2, postrouting 3`.
fn shown(chains: &BTreeMap<String, usize>) -> String {
    let counts: Vec<_> = chains
        .iter()
        .map(|(chain, rules)| format!("{chain} {rules}"))
        .collect();
    match counts.as_slice() {
        [] => "none".to_owned(),
        counts => counts.join(", "),
    }
}

/// How many rules each chain has.
fn count(objects: Value) -> BTreeMap<String, usize> {
    by_chain(objects)
        .into_iter()
        .map(|(name, objects)| (name, objects.len().saturating_sub(1)))
        .collect()
}

/// Chains, each with its rules in their order, in a form in which what was given equals what is listed.
fn by_chain(objects: Value) -> BTreeMap<String, Vec<Value>> {
    let mut chains: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let Value::Array(objects) = normal(objects) else {
        return chains;
    };
    for object in objects {
        let name = object["chain"]["name"].as_str();
        let name = name.or_else(|| object["rule"]["chain"].as_str());
        let name = name.unwrap_or_default().to_owned();
        chains.entry(name).or_default().push(object);
    }
    chains
}

/// Without handles, and lists of one as their element: how nft 1.0.6 lists what it was given.
fn normal(value: Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(normal).collect()),
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(name, _)| name != "handle")
            .map(|(name, value)| match value {
                Value::Array(mut items) if name == "flags" && items.len() == 1 => {
                    (name, items.remove(0))
                }
                value => (name, normal(value)),
            })
            .collect(),
        other => other,
    }
}

/// The commands back, with what the kernel made of them.
async fn run(commands: &Nftables<'_>) -> Result<Value, NetError> {
    let input = serde_json::to_vec(commands).map_err(NetError::NftOutput)?;
    let output = spawn(&["-j", "--echo", "-f", "-"], &input).await?;
    if !output.status.success() {
        return Err(failure(&output));
    }
    // Where nothing was made there may be nothing to echo.
    Ok(serde_json::from_slice(&output.stdout).unwrap_or_default())
}

async fn spawn(arguments: &[&str], input: &[u8]) -> Result<Output, NetError> {
    let talk = async {
        let mut child = start("nft", arguments).or_else(|error| {
            // The usual place is not on everybody's PATH.
            if error.kind() == io::ErrorKind::NotFound {
                start("/usr/sbin/nft", arguments)
            } else {
                Err(error)
            }
        })?;
        if let Some(mut stdin) = child.stdin.take() {
            match stdin.write_all(input).await {
                // It ended early: its exit status and message say why.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
                result => result?,
            }
        }
        child.wait_with_output().await
    };
    let timed_out = |_| io::Error::from(io::ErrorKind::TimedOut);
    tokio::time::timeout(DEADLINE, talk)
        .await
        .unwrap_or_else(|elapsed| Err(timed_out(elapsed)))
        .map_err(NetError::NftSpawn)
}

fn start(program: &str, arguments: &[&str]) -> io::Result<tokio::process::Child> {
    Command::new(program)
        .args(arguments)
        // Its messages are read above.
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
}

fn failure(output: &Output) -> NetError {
    let stderr = String::from_utf8_lossy(&output.stderr);
    NetError::Nft {
        status: output.status.to_string(),
        message: stderr.lines().next().unwrap_or("no message").to_owned(),
    }
}
