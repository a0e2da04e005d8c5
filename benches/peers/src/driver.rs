//! Starts a process for each run, in turn, and gathers what they found.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};

use crate::child::Found;
use crate::peer::{Flush, Name};
use crate::peers::walrus;
use crate::plan::{Case, PASSES, Plan, READ_BATCH};

/// Runs systems in folders below one, each of which goes after its run.
#[derive(Debug)]
pub struct Driver {
    program: PathBuf,
    parent: PathBuf,
    plan: Plan,
}

impl Driver {
    /// Children are further runs of this program.
    pub fn new(parent: &Path, plan: Plan) -> Result<Self> {
        fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
        Ok(Self {
            program: std::env::current_exe().context("finding this program")?,
            parent: parent.canonicalize()?,
            plan,
        })
    }

    /// How much is measured.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Messages appended per second, by system; a sample for each round.
    pub fn appends(&self, case: Case) -> Result<Vec<(Name, Vec<f64>)>> {
        let names = Name::ALL.into_iter().filter(|name| name.can(case.flush));
        self.in_turn(names.collect(), |name| Ok(self.append(name, case)?.append))
    }

    /// What each round read, by system. All have appended the same before.
    pub fn reads(&self, body: usize) -> Result<Vec<(Name, Vec<Found>)>> {
        self.in_turn(Name::ALL.to_vec(), |name| self.read(name, body))
    }

    /// Runs all of them, round after round, every other round backwards; the first does not count.
    fn in_turn<T>(
        &self,
        names: Vec<Name>,
        run: impl Fn(Name) -> Result<T>,
    ) -> Result<Vec<(Name, Vec<T>)>> {
        let mut samples: Vec<Vec<T>> = names.iter().map(|_| Vec::new()).collect();
        for round in 0..=self.plan.rounds {
            let mut order: Vec<usize> = (0..names.len()).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for index in order {
                let sample = run(names[index])?;
                if round > 0 {
                    samples[index].push(sample);
                }
            }
        }
        Ok(names.into_iter().zip(samples).collect())
    }

    fn append(&self, name: Name, case: Case) -> Result<Found> {
        let folder = self.folder()?;
        let mut run = self.run(&[], name, folder.path(), case.flush);
        run.args(["--body", &case.body.to_string()]);
        run.args(["--batch", &case.batch.to_string()]);
        run.args(["--messages", &self.plan.messages(case.body).to_string()]);
        run.args(["--limit", &self.plan.limit.as_millis().to_string()]);
        parse(&output(run, name)?.stdout)
    }

    fn read(&self, name: Name, body: usize) -> Result<Found> {
        let folder = self.folder()?;
        let flush = [Flush::Never, Flush::Each]
            .into_iter()
            .find(|flush| name.can(*flush));
        let mut run = self.run(&[], name, folder.path(), flush.unwrap_or(Flush::Each));
        // walrus flushes its batches.
        let batch = if name == Name::Walrus { 1 } else { READ_BATCH };
        run.args(["--body", &body.to_string(), "--batch", &batch.to_string()]);
        run.args(["--messages", &self.plan.messages(body).to_string()]);
        run.args(["--passes", &PASSES.to_string()]);
        parse(&output(run, name)?.stdout)
    }

    /// A child, started by `wrapper`, if there is one.
    pub fn run(&self, wrapper: &[&str], name: Name, folder: &Path, flush: Flush) -> Command {
        let mut words = wrapper
            .iter()
            .map(PathBuf::from)
            .chain([self.program.clone()]);
        let mut run = Command::new(words.next().unwrap_or_default());
        run.args(words).arg("run");
        run.args(["--peer", &name.argument()]);
        run.arg("--dir").arg(folder);
        run.args(["--flush", &flush.argument()]);
        run.envs(walrus::environment(folder));
        run
    }

    /// A folder for one run.
    pub fn folder(&self) -> Result<tempfile::TempDir> {
        tempfile::tempdir_in(&self.parent).context("creating a folder for a run")
    }
}

/// What a child printed, if it ended well.
pub fn output(mut run: Command, name: Name) -> Result<Output> {
    let output = run.output().with_context(|| format!("starting {run:?}"))?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {error}", name.title());
    Ok(output)
}

/// The last line that a child printed: some systems print lines of their own before.
pub fn parse(printed: &[u8]) -> Result<Found> {
    let printed = String::from_utf8_lossy(printed);
    let line = printed.lines().last().context("a run printed nothing")?;
    serde_json::from_str(line).with_context(|| format!("a run printed {line}"))
}
