//! Reads the servers' own metrics at the start and the end of runs, and every 15 seconds of a long one. Each reading of a
//! server is given to all of its runs that were open when it began, so a server is never asked more than once at a time. It
//! must not know how pages are understood, nor who is told.

use super::account::{AccountSums, ClientSide};
use super::ask::{self, TrustedClients};
use super::engine::{self, EngineReading};
use super::page::{self, PageError};
use super::{INTERVAL, PATIENCE};
use crate::event::{BackendReadResult, RunAccount, RunRef};
use crate::fact::{Fact, Sink};
use crate::plan::{Plan, Target};
use crate::tally::RunTally;
use crate::unmeasured;
use futures_util::future::{BoxFuture, join_all};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The largest page that is read, in bytes. Pages of engines have at most some 100 kB, those of gateways a few MB.
const MAX_PAGE: usize = 8 << 20;

/// Time between the beginnings of two readings of a server.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs of a target that are followed at the same time; of more, the oldest ends here.
const MAX_RUNS: usize = 64;

/// News of runs that may wait to be handled.
const WAITING: usize = 1024;

/// Families that are looked for.
static WANTED: LazyLock<HashSet<&'static str>> = LazyLock::new(engine::wanted);

/// Receives the facts that the task acts on.
pub struct AccountReader {
    news: mpsc::Sender<RunNews>,
    plan: watch::Sender<Arc<Plan>>,
    /// The open runs that the task was told of, by id.
    followed: Mutex<BTreeSet<String>>,
}

/// Reads and reports.
pub struct AccountTask {
    news: mpsc::Receiver<RunNews>,
    plan: watch::Receiver<Arc<Plan>>,
    clients: TrustedClients,
    servers: BTreeMap<Arc<str>, ReadServer>,
    began: Instant,
}

enum RunNews {
    Started(Arc<RunRef>),
    Ended(Arc<RunRef>, ClientSide),
}

/// A server with open runs.
struct ReadServer {
    target: Arc<Target>,
    runs: VecDeque<ReadRun>,
    /// When the last reading began.
    last: Option<Instant>,
    /// What it said, if it was read.
    latest: Option<EngineReading>,
    /// When the next is due.
    due: Option<Instant>,
    is_reading: bool,
}

/// A run that is followed.
struct ReadRun {
    run: Arc<RunRef>,
    sums: AccountSums,
    /// What its client measured, once it has ended.
    ended: Option<ClientSide>,
    /// Whether the reading under way began while it was open, and whether it had ended by then.
    part_of_reading: Option<bool>,
}

/// A reading, and whose it is.
struct DoneReading {
    target: Arc<str>,
    at: Instant,
    read: Result<EngineReading, ReadFailure>,
}

/// Why there is no reading.
#[derive(Debug)]
struct ReadFailure {
    result: BackendReadResult,
    why: String,
}

type Readings = FuturesUnordered<BoxFuture<'static, DoneReading>>;

impl AccountReader {
    /// Creates it for a plan, with the task that does the work.
    pub fn new(plan: Arc<Plan>) -> (Arc<Self>, AccountTask) {
        let (news, inbox) = mpsc::channel(WAITING);
        let (plan, in_force) = watch::channel(plan);
        let task = AccountTask {
            news: inbox,
            plan: in_force,
            clients: TrustedClients::default(),
            servers: BTreeMap::new(),
            began: Instant::now(),
        };
        (Arc::new(Self { news, plan, followed: Mutex::default() }), task)
    }

    fn started(&self, run: &Arc<RunRef>) {
        let is_read =
            |target: &Arc<Target>| target.name == run.pair.target && target.backend.metrics.is_some();
        if self.plan.borrow().targets.iter().any(is_read) {
            self.followed().insert(run.id.clone());
            self.tell(RunNews::Started(Arc::clone(run)));
        }
    }

    fn ended(&self, run: &Arc<RunRef>, tally: &RunTally) {
        let is_followed = self.followed().remove(&run.id);
        if is_followed {
            self.tell(RunNews::Ended(Arc::clone(run), ClientSide::of(tally)));
        }
    }

    fn tell(&self, news: RunNews) {
        if self.news.try_send(news).is_err() {
            tracing::warn!("there is no account of a server over a run: too much waits");
        }
    }

    fn followed(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for AccountReader {
    fn record(&self, fact: &Fact) {
        match fact {
            Fact::PlanChanged(plan) => drop(self.plan.send_replace(Arc::clone(plan))),
            Fact::RunStarted { run, .. } => self.started(run),
            Fact::RunEnded { summary, tally } => self.ended(&summary.run, tally),
            _ => {}
        }
    }
}

impl AccountTask {
    /// Reads every server once, so that runs which begin now have a reading from before their first request. What fails is
    /// tried again then, and counted.
    pub async fn prepare(&mut self) {
        let plan = Arc::clone(&self.plan.borrow());
        let mut readings = Vec::new();
        for target in plan.targets.iter().filter(|target| target.backend.metrics.is_some()) {
            let (client, target) = (self.clients.of(target).await, Arc::clone(target));
            readings.push(async move { (Arc::clone(&target), read(client, target, Instant::now()).await) });
        }
        for (target, done) in join_all(readings).await {
            let Ok(latest) = done.read else { continue };
            let server = ReadServer { last: Some(done.at), latest: Some(latest), ..ReadServer::of(target) };
            self.servers.insert(done.target, server);
        }
    }

    /// Reads and reports until `stop`; then for as long as it takes to read the servers of runs that have ended, once.
    pub async fn run(mut self, report: Arc<dyn Sink>, stop: CancellationToken) {
        let mut readings = Readings::new();
        let mut give_up = None;
        let mut is_open = true;
        loop {
            self.begin_due(&mut readings, give_up.is_some()).await;
            if give_up.is_some() && !is_open && !self.servers.values().any(ReadServer::awaits_an_end) {
                return;
            }
            let due = self.servers.values().filter(|server| !server.is_reading).filter_map(|it| it.due).min();
            tokio::select! {
                biased;
                news = self.news.recv(), if is_open => match news {
                    Some(news) => self.hear(news),
                    None => is_open = false,
                },
                Some(done) = readings.next(), if !readings.is_empty() => self.take(done, &*report),
                () = stop.cancelled(), if give_up.is_none() => {
                    // What was sent before is still received.
                    self.news.close();
                    give_up = Some(Instant::now() + PATIENCE + Duration::from_secs(1));
                }
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
                () = tokio::time::sleep_until(give_up.unwrap_or_else(Instant::now)), if give_up.is_some() => return,
            }
        }
    }

    fn hear(&mut self, news: RunNews) {
        match news {
            RunNews::Started(run) => {
                let target = {
                    let plan = self.plan.borrow();
                    plan.targets.iter().find(|target| target.name == run.pair.target).cloned()
                };
                let Some(target) = target.filter(|target| target.backend.metrics.is_some()) else { return };
                let name = Arc::clone(&target.name);
                let server = self.servers.entry(name).or_insert_with(|| ReadServer::of(Arc::clone(&target)));
                server.target = target;
                server.follow(run, self.began);
            }
            RunNews::Ended(run, client) => {
                let Some(server) = self.servers.get_mut(&run.pair.target) else { return };
                if let Some(known) = server.runs.iter_mut().find(|known| known.run.id == run.id) {
                    known.ended = Some(client);
                    server.want_now();
                }
            }
        }
    }

    /// Begins the readings that are due; at the end, those that are waited for do not keep the pause.
    async fn begin_due(&mut self, readings: &mut Readings, is_ending: bool) {
        let now = Instant::now();
        for server in self.servers.values_mut() {
            let is_due = server.due.is_some_and(|due| due <= now) || (is_ending && server.awaits_an_end());
            if server.is_reading || !is_due {
                continue;
            }
            server.begin(now);
            let client = self.clients.of(&server.target).await;
            readings.push(Box::pin(read(client, Arc::clone(&server.target), now)));
        }
    }

    fn take(&mut self, done: DoneReading, report: &dyn Sink) {
        let Some(server) = self.servers.get_mut(&done.target) else { return };
        let mut result = match &done.read {
            Ok(_) => BackendReadResult::Ok,
            Err(failure) => {
                let why = &failure.why;
                tracing::debug!(target = %done.target, why, "the server's metrics cannot be read");
                failure.result
            }
        };
        let at = done.at.saturating_duration_since(self.began);
        for run in server.runs.iter_mut().filter(|run| run.part_of_reading.is_some()) {
            match &done.read {
                Ok(reading) if run.sums.take(reading, at) => result = BackendReadResult::Restarted,
                Ok(_) => {}
                Err(failure) => run.sums.failed(failure.result, &failure.why),
            }
        }
        report.record(&Fact::BackendRead { target: Arc::clone(&done.target), result });
        server.latest = done.read.ok();
        for ended in server.end() {
            let account = ended.sums.account(&ended.ended.unwrap_or_default());
            let account = RunAccount { run: ended.run, account: Arc::new(account) };
            report.record(&Fact::BackendAccounted(Arc::new(account)));
        }
        let in_use = self.servers.values().map(|server| &*server.target);
        self.clients.keep(in_use);
        self.forget();
    }

    /// Forgets servers without runs that are no longer in the plan.
    fn forget(&mut self) {
        let plan = Arc::clone(&self.plan.borrow());
        let is_planned = |name: &Arc<str>| plan.targets.iter().any(|target| target.name == *name);
        self.servers.retain(|name, server| !server.runs.is_empty() || is_planned(name));
    }
}

impl ReadServer {
    fn of(target: Arc<Target>) -> Self {
        Self { target, runs: VecDeque::new(), last: None, latest: None, due: None, is_reading: false }
    }

    /// A run begins. A reading of a moment ago, such as the last of the run before, is its first.
    fn follow(&mut self, run: Arc<RunRef>, began: Instant) {
        let mut sums = AccountSums::default();
        let fresh = self.last.filter(|last| !self.is_reading && last.elapsed() < PAUSE);
        match fresh.zip(self.latest.as_ref()) {
            Some((at, latest)) => {
                sums.take(latest, at.saturating_duration_since(began));
                self.due = self.due.or(Some(at + INTERVAL));
            }
            None => self.want_now(),
        }
        self.runs.push_back(ReadRun { run, sums, ended: None, part_of_reading: None });
        if self.runs.len() > MAX_RUNS {
            self.runs.pop_front();
        }
    }

    /// A reading is wanted as soon as the pause allows.
    fn want_now(&mut self) {
        self.due = Some(self.last.map_or_else(Instant::now, |last| last + PAUSE));
    }

    /// Whether a run has ended and waits for its last reading.
    fn awaits_an_end(&self) -> bool {
        self.runs.iter().any(|run| run.ended.is_some())
    }

    fn begin(&mut self, now: Instant) {
        self.is_reading = true;
        self.last = Some(now);
        self.due = None;
        for run in &mut self.runs {
            run.part_of_reading = Some(run.ended.is_some());
        }
    }

    /// Ends a reading, and takes out the runs whose last it was.
    fn end(&mut self) -> Vec<ReadRun> {
        self.is_reading = false;
        let (over, open): (Vec<_>, Vec<_>) =
            self.runs.drain(..).partition(|run| run.part_of_reading == Some(true));
        self.runs = open.into();
        // What came in meanwhile has asked for a reading of its own.
        if self.due.is_none() && !self.runs.is_empty() {
            self.due = self.last.map(|last| last + INTERVAL);
        }
        for run in &mut self.runs {
            run.part_of_reading = None;
        }
        over
    }
}

async fn read(client: Result<reqwest::Client, String>, target: Arc<Target>, at: Instant) -> DoneReading {
    let read = match client {
        Ok(client) => fetch(&client, &target).await,
        Err(why) => Err(ReadFailure { result: BackendReadResult::Unreachable, why }),
    };
    DoneReading { target: Arc::clone(&target.name), at, read }
}

async fn fetch(client: &reqwest::Client, target: &Target) -> Result<EngineReading, ReadFailure> {
    let failure = |result, why: String| ReadFailure { result, why };
    let unreachable = |error| failure(BackendReadResult::Unreachable, unmeasured::chain(error));
    let too_large =
        || failure(BackendReadResult::TooLarge, format!("the page has more than {} MB", MAX_PAGE >> 20));
    let Some(url) = target.backend.metrics.clone() else {
        return Err(failure(BackendReadResult::Unreachable, "there is no URL".to_owned()));
    };
    let request = ask::request(client, url, target);
    let request = request.map_err(|why| failure(BackendReadResult::Unreachable, why))?;
    let mut answer = request.send().await.map_err(unreachable)?;
    if !answer.status().is_success() {
        return Err(failure(BackendReadResult::Refused, format!("status {}", answer.status().as_u16())));
    }
    let (body, is_whole) = unmeasured::read_at_most(&mut answer, MAX_PAGE).await.map_err(unreachable)?;
    if !is_whole {
        return Err(too_large());
    }
    let model = Arc::clone(&target.model);
    // A page of some MB takes a while.
    let understood = tokio::task::spawn_blocking(move || understand(&body, &model)).await;
    understood.unwrap_or_else(|error| Err(failure(BackendReadResult::NotMetrics, error.to_string())))
}

fn understand(body: &[u8], model: &str) -> Result<EngineReading, ReadFailure> {
    let failure = |result, why: String| ReadFailure { result, why };
    let text = std::str::from_utf8(body)
        .map_err(|_| failure(BackendReadResult::NotMetrics, PageError::NotMetrics.to_string()))?;
    let samples = page::samples(text, &WANTED).map_err(|error| {
        let too_many = error == PageError::TooMany;
        let result = if too_many { BackendReadResult::TooLarge } else { BackendReadResult::NotMetrics };
        failure(result, error.to_string())
    })?;
    let unknown = || {
        let why = "the page has no metric of a known engine".to_owned();
        failure(BackendReadResult::UnknownEngine, why)
    };
    engine::read(&samples, model).ok_or_else(unknown)
}
