//! How fast the guest's huge pages are taken: by QEMU's one thread, by ours, by the kernel alone, and what the memory
//! itself allows.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use camino::Utf8PathBuf;
use hugepages::{Bytes, PageSize};
use launcher::machine::memory::memory;
use launcher::placement::{Binding, Fill, MemoryPlacement, Placement};
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::memfd::{MFdFlags, memfd_create};
use numa::CpuSet;
use qmp::{Options, Session};
use serde_json::{Value, json};
use tests::pools::{self, Held};

use crate::report::Report;

/// What a guest takes. Pages of 1Gi are hard to have on a machine that has run for a while.
const GUESTS: [(PageSize, Bytes); 2] = [
    (PageSize::MIB_2, Bytes(1 << 30)),
    (PageSize::GIB_1, Bytes(1 << 30)),
];
const ANSWER: Duration = Duration::from_secs(60);

/// The same backend of a running QEMU's, added and deleted in turns with and without our threads: what is timed is
/// `object-add`, which answers when every page is there.
#[expect(clippy::print_stderr, reason = "a program for people")]
pub(crate) async fn measure(rounds: usize, report: &mut Report) -> Result<()> {
    let cpus = numa::affinity::get(numa::Tid::current())?;
    for (size, bytes) in GUESTS {
        let mut held = Held::hold();
        if let Err(error) = held.try_add(size, bytes.0 / size.0.0) {
            eprintln!("bench: prefault of pages of {size} is not measured: {error}");
            continue;
        }
        measure_pages((size, bytes), &cpus, &held, rounds, report).await?;
        held.release();
    }
    Ok(())
}

async fn measure_pages(
    (size, bytes): (PageSize, Bytes),
    cpus: &CpuSet,
    held: &Held,
    rounds: usize,
    report: &mut Report,
) -> Result<()> {
    let free = pools::free(size);
    let placement = placement(size, bytes, cpus);
    let ours: Vec<Value> = memory(&placement, true)
        .objects
        .iter()
        .map(serde_json::to_value)
        .collect::<Result<_, _>>()?;
    let mut qemus = ours.last().context("a backend")?.clone();
    let properties = qemus.as_object_mut().context("an object")?;
    // `prealloc-threads` is then the number of vCPUs, one here.
    properties.retain(|name, _| !name.starts_with("prealloc-"));
    let qemus = vec![qemus];
    let qemu = Qemu::start().await?;
    let (mut one, mut many) = (Vec::new(), Vec::new());
    let (mut kernels, mut plain_one, mut plain_many) = (Vec::new(), Vec::new(), Vec::new());
    let mut plain = vec![1_u8; usize::try_from(bytes.0)?];
    for round in 0..=rounds {
        let mut times = [0.0; 5];
        for (time, objects) in times.iter_mut().zip([&qemus, &ours]) {
            *time = qemu.added(objects).await?;
            // QEMU gives memory back in its own time.
            held.wait_for_free(size, free);
        }
        times[2] = allocated(size, bytes, cpus.len())?;
        held.wait_for_free(size, free);
        for (time, threads) in times[3..].iter_mut().zip([1, cpus.len()]) {
            *time = filled(&mut plain, threads);
        }
        // The first round warms caches.
        if round > 0 {
            let samples = [
                &mut one,
                &mut many,
                &mut kernels,
                &mut plain_one,
                &mut plain_many,
            ];
            for (sample, seconds) in samples.into_iter().zip(times) {
                sample.push(gib(bytes) / seconds);
            }
        }
    }
    qemu.stop().await?;
    let threads = cpus.len();
    report.add(
        format!("prefault {bytes} in pages of {size}"),
        "GiB/s",
        &[
            ("QEMU's default, 1 thread", one),
            (&format!("virt-launcher's, {threads} threads"), many),
            (
                &format!("the kernel's allocation, {threads} threads"),
                kernels,
            ),
            ("plain fill, 1 thread", plain_one),
            (&format!("plain fill, {threads} threads"), plain_many),
        ],
    );
    Ok(())
}

/// As a guest on node 0 is placed.
fn placement(size: PageSize, bytes: Bytes, cpus: &CpuSet) -> Placement {
    Placement {
        memory: vec![MemoryPlacement {
            guest_node: 0,
            host_node: Some(0),
            bytes: bytes.0,
            page_size: Some(size.to_string()),
        }],
        binding: Binding::Bind,
        fill: vec![Fill {
            host_node: Some(0),
            cpus: cpus.to_string(),
        }],
        ..Placement::default()
    }
}

/// Seconds for the kernel to take and clear as many pages, in threads that do nothing else: a file each, since it locks a
/// file for it (`hugetlbfs_fallocate`). A page cannot be shared out.
fn allocated(size: PageSize, bytes: Bytes, threads: usize) -> Result<f64> {
    let large = match size {
        PageSize::GIB_1 => MFdFlags::MFD_HUGE_1GB,
        _ => MFdFlags::MFD_HUGE_2MB,
    };
    let pages = bytes.0 / size.0.0;
    let threads = u64::try_from(threads)?.min(pages);
    let length = i64::try_from(pages / threads * size.0.0)?;
    let files = (0..threads)
        .map(|_| memfd_create(c"prefault", MFdFlags::MFD_HUGETLB | large))
        .collect::<Result<Vec<_>, _>>()?;
    let started = Instant::now();
    std::thread::scope(|scope| {
        let threads: Vec<_> = files
            .iter()
            .map(|file| scope.spawn(move || fallocate(file, FallocateFlags::empty(), 0, length)))
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or(Err(nix::errno::Errno::EIO)))
    })?;
    Ok(started.elapsed().as_secs_f64())
}

/// Seconds to write every byte of memory that is there already.
fn filled(plain: &mut [u8], threads: usize) -> f64 {
    let part = plain.len().div_ceil(threads);
    let started = Instant::now();
    std::thread::scope(|scope| {
        for part in plain.chunks_mut(part) {
            scope.spawn(move || std::hint::black_box(part).fill(0));
        }
    });
    started.elapsed().as_secs_f64()
}

fn gib(bytes: Bytes) -> f64 {
    f64::from(u32::try_from(bytes.0 >> 20).unwrap_or(u32::MAX)) / 1024.0
}

/// A QEMU with no machine.
struct Qemu {
    child: Child,
    session: Session,
    _directory: tempfile::TempDir,
}

impl Qemu {
    async fn start() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let socket = Utf8PathBuf::try_from(directory.path().join("qmp.sock"))?;
        let mut child = Command::new(tests::need::tool("qemu-system-x86_64"))
            .args(["-nodefaults", "-no-user-config", "-display", "none"])
            .args(["-machine", "none", "-S", "-qmp"])
            .arg(format!("unix:{socket},server=on,wait=off"))
            .stdin(Stdio::null())
            .spawn()?;
        let session = loop {
            match Session::connect(socket.as_std_path(), Options::default()).await {
                Ok(session) => break session,
                Err(error) => {
                    if let Some(status) = child.try_wait()? {
                        bail!("QEMU ended, {status}: {error}");
                    }
                    // The socket comes a moment after the process.
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        };
        Ok(Self {
            child,
            session,
            _directory: directory,
        })
    }

    /// Seconds to add them; they are deleted again.
    async fn added(&self, objects: &[Value]) -> Result<f64> {
        let started = Instant::now();
        for object in objects {
            self.execute("object-add", object.clone()).await?;
        }
        let seconds = started.elapsed().as_secs_f64();
        for object in objects.iter().rev() {
            self.execute("object-del", json!({"id": object["id"]}))
                .await?;
        }
        Ok(seconds)
    }

    async fn execute(&self, command: &str, arguments: Value) -> Result<()> {
        self.session
            .execute_raw(command, arguments, ANSWER)
            .await
            .with_context(|| format!("`{command}`"))?;
        Ok(())
    }

    async fn stop(mut self) -> Result<()> {
        // It may end before it answers.
        let _answer = self.execute("quit", json!({})).await;
        self.child.wait()?;
        Ok(())
    }
}
