//! A disk that is held to what it was asked to make durable, and to nothing else. For tests.
//!
//! It stands behind one folder, which should be one in memory, and is told of every operation below it ([`ask`]). The
//! files are real ones, mappings and all; beside them it keeps what a power cut could leave:
//!
//! * Of a file, each page stands as it was at its last sync, or as it was at some moment since, or some of its sectors
//!   of 512 bytes from one of these and the others from another. Pages of one file need not be of one moment. A page
//!   that was never synced may be zeros. The length is that of some moment too.
//! * Each change of a folder since its last sync (a name that was given, a name that was taken away) is kept or lost,
//!   whatever became of the others. Only a rename never leaves a file without a name: it may have the old one, the new
//!   one, or both.
//! * A sync that fails has made its pages clean: a later one that succeeds leaves them as they were, each written or not.
//!
//! A disk takes a [`Moment`] after every operation that changes something, and when a test asks for one. An [`Image`] is
//! one of the ways in which a moment could come out of a power cut.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Write as _},
    fs::{self, File},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::SystemTime,
};

use rustix::io::Errno;

use super::Op;

const PAGE: usize = 4096;
const SECTOR: usize = 512;

type Page = [u8; PAGE];

/// A file or a folder, whatever its names.
type Node = u64;

const ROOT: Node = 0;

static WATCHED: RwLock<Vec<Arc<Disk>>> = RwLock::new(Vec::new());
static WATCHED_COUNT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The disk behind the lake to which this thread logs.
    static STORES: RefCell<Weak<Disk>> = const { RefCell::new(Weak::new()) };
}

/// Called before bytes are stored through a mapping.
pub(crate) fn about_to_store() {
    if let Some(disk) = STORES.with_borrow(Weak::upgrade) {
        disk.moment("claiming room for a frame");
    }
}

/// The seam: does one operation, and tells the disk behind the folder of it, if there is one.
pub(super) fn ask<T>(
    op: Op,
    paths: &[&Path],
    act: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    // ORDERING: Relaxed: a test that watches a folder uses it afterwards, in the same thread or in one that it started.
    if WATCHED_COUNT.load(Ordering::Relaxed) == 0 {
        return act();
    }
    let disk = {
        let watched = WATCHED.read().unwrap_or_else(PoisonError::into_inner);
        watched.iter().find(|disk| paths[0].starts_with(&disk.root)).map(Arc::clone)
    };
    let Some(disk) = disk else { return act() };
    let paths: Vec<&Path> =
        paths.iter().filter_map(|path| path.strip_prefix(&disk.root).ok()).collect();
    if let Some(between) = disk.between.get() {
        between();
    }
    disk.before(op, &paths)?;
    let done = act();
    if done.is_ok() {
        disk.after(op, &paths);
    }
    done
}

/// The disk behind a folder.
pub(crate) struct Disk {
    root: PathBuf,
    state: Mutex<State>,
    between: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// It only lets operations fail, and takes no moments.
    only_fails: bool,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Disk({})", self.root.display())
    }
}

/// Lets go of the folder when dropped.
#[derive(Debug)]
pub(crate) struct Watched(Arc<Disk>);

impl Watched {
    /// This thread is taken to log below the folder.
    pub(crate) fn enter(&self) {
        STORES.set(Arc::downgrade(&self.0));
    }
}

impl std::ops::Deref for Watched {
    type Target = Disk;

    fn deref(&self) -> &Disk {
        &self.0
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut watched = WATCHED.write().unwrap_or_else(PoisonError::into_inner);
        watched.retain(|disk| !Arc::ptr_eq(disk, &self.0));
        // ORDERING: Relaxed, as in `ask`.
        WATCHED_COUNT.store(watched.len(), Ordering::Relaxed);
    }
}

/// Operations that fail instead of being done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    /// Which ones.
    pub(crate) failing: Failing,
    /// How many of them are done before.
    pub(crate) after: u64,
    /// How many fail from then on.
    pub(crate) times: u64,
}

/// In which way a disk fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failing {
    /// It is full: what needs room fails, and it still reads, syncs and removes.
    Full,
    /// The same, because its user may have no more.
    Quota,
    /// Any operation fails.
    Broken,
    /// Files cannot be synced.
    Syncs,
    /// Files cannot be mapped.
    Maps,
    /// Nothing changes any more: whoever asked is dead, only does not know.
    Dead,
}

impl Failing {
    fn concerns(self, op: Op) -> bool {
        match self {
            Self::Full | Self::Quota => matches!(
                op,
                Op::Create
                    | Op::CreateDir
                    | Op::Write
                    | Op::WriteAt
                    | Op::Reserve
                    | Op::Link
                    | Op::Rename
            ),
            Self::Broken => true,
            Self::Syncs => op == Op::Sync,
            Self::Maps => op == Op::Map,
            Self::Dead => op != Op::Read,
        }
    }

    fn error(self) -> io::Error {
        match self {
            Self::Full => io::Error::from(Errno::NOSPC),
            Self::Quota => io::Error::from(Errno::DQUOT),
            Self::Maps => io::Error::from(Errno::NODEV),
            _ => io::Error::from(Errno::IO),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    /// What stands where, as programs see it.
    live: BTreeMap<PathBuf, Node>,
    kept: Kept,
    /// The last number that was given to a file, a folder or a change.
    next: u64,
    moments: Vec<Moment>,
    /// How many operations there were that the fault concerns.
    asked: u64,
    fault: Option<Fault>,
}

/// What stands on the disk and what may.
#[derive(Debug, Default, Clone)]
struct Kept {
    /// For each folder, the names that are durable.
    folders: BTreeMap<Node, Arc<BTreeMap<String, Node>>>,
    files: BTreeMap<Node, Arc<Versions>>,
    /// Changes of folders that are not durable, oldest first.
    changes: Vec<Change>,
}

/// A name that was given to a file or folder, or taken away.
#[derive(Debug, Clone)]
struct Change {
    id: u64,
    folder: Node,
    name: String,
    to: Option<Node>,
    /// The change by which the same rename has given the file another name. It is not kept without that one.
    follows: Option<u64>,
}

/// What a file may hold.
#[derive(Debug, Default, Clone)]
struct Versions {
    synced: Contents,
    /// What it held at moments since then, oldest first; the last is what it holds.
    since: Vec<Contents>,
    /// Pages that a failed sync has made clean.
    clean: BTreeMap<usize, Arc<Page>>,
    /// Stores may change it without an operation.
    mapped: bool,
    /// It is written on after a sync.
    written_on: bool,
}

impl Versions {
    fn last(&self) -> &Contents {
        self.since.last().unwrap_or(&self.synced)
    }
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Contents {
    len: u64,
    pages: Vec<Arc<Page>>,
}

impl Contents {
    /// Reads a file; pages that are as `before` are shared with it.
    fn read(path: &Path, before: &Self) -> io::Result<Self> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        let mut pages = Vec::new();
        for at in (0..len).step_by(PAGE) {
            let mut page = [0; PAGE];
            let size = usize::try_from(len - at).unwrap_or(PAGE).min(PAGE);
            file.read_exact_at(&mut page[..size], at)?;
            let known = before.pages.get(pages.len()).filter(|known| ***known == page);
            pages.push(known.map_or_else(|| Arc::new(page), Arc::clone));
        }
        Ok(Self { len, pages })
    }

    fn page(&self, at: usize) -> Page {
        self.pages.get(at).map_or([0; PAGE], |page| **page)
    }

    fn is_page(&self, at: usize, page: &Arc<Page>) -> bool {
        self.pages.get(at).is_some_and(|mine| Arc::ptr_eq(mine, page) || mine == page)
    }
}

impl State {
    /// The folder and the name of a path.
    fn place(&self, path: &Path) -> Option<(Node, String)> {
        let folder = *self.live.get(path.parent()?)?;
        Some((folder, path.file_name()?.to_str()?.to_owned()))
    }

    /// Notes that `path` means another file or folder from now on, or none.
    fn set(&mut self, path: &Path, to: Option<Node>, follows: Option<u64>) {
        if let Some((folder, name)) = self.place(path) {
            self.next += 1;
            self.kept.changes.push(Change { id: self.next, folder, name, to, follows });
        }
        match to {
            Some(node) => drop(self.live.insert(path.to_owned(), node)),
            None => drop(self.live.remove(path)),
        }
    }

    fn make(&mut self, path: &Path, is_folder: bool) {
        if self.live.contains_key(path) {
            return;
        }
        self.next += 1;
        if is_folder {
            self.kept.folders.insert(self.next, Arc::default());
        } else {
            self.kept.files.insert(self.next, Arc::default());
        }
        self.set(path, Some(self.next), None);
    }

    fn rename(&mut self, from: &Path, to: &Path) {
        let Some(&node) = self.live.get(from) else { return };
        self.set(to, Some(node), None);
        let given = self.next;
        self.set(from, None, Some(given));
        let inside: Vec<PathBuf> =
            self.live.keys().filter(|path| path.starts_with(from)).cloned().collect();
        for path in inside {
            if let (Some(node), Ok(rest)) = (self.live.remove(&path), path.strip_prefix(from)) {
                self.live.insert(to.join(rest), node);
            }
        }
    }

    /// Looks at what a file holds now.
    fn look(&mut self, root: &Path, path: &Path) {
        let Some(versions) = self.live.get(path).and_then(|node| self.kept.files.get_mut(node))
        else {
            return;
        };
        // A file that is gone by now holds what it held when it was last seen.
        let Ok(now) = Contents::read(&root.join(path), versions.last()) else { return };
        if now != *versions.last() {
            assert!(
                versions.mapped || versions.written_on || versions.synced.len == 0,
                "{} was changed after it was synced",
                path.display()
            );
            Arc::make_mut(versions).since.push(now);
        }
    }

    /// Looks at all files that are mapped.
    fn look_around(&mut self, root: &Path) {
        let mapped = |(_, node): &(&PathBuf, &Node)| {
            self.kept.files.get(node).is_some_and(|versions| versions.mapped)
        };
        let paths: Vec<PathBuf> =
            self.live.iter().filter(mapped).map(|(path, _)| path.clone()).collect();
        for path in paths {
            self.look(root, &path);
        }
    }

    fn versions(&mut self, path: &Path) -> Option<&mut Versions> {
        self.kept.files.get_mut(self.live.get(path)?).map(Arc::make_mut)
    }

    fn sync(&mut self, path: &Path) {
        let Some(versions) = self.versions(path) else { return };
        let mut now = versions.last().clone();
        let synced = std::mem::take(&mut versions.synced);
        let clean = std::mem::take(&mut versions.clean);
        let mut since = Vec::new();
        for (at, page) in clean {
            if now.is_page(at, &page) {
                since = vec![versions.last().clone()];
                now.pages[at] = Arc::new(synced.page(at));
                versions.clean.insert(at, page);
            }
        }
        versions.synced = now;
        versions.since = since;
    }

    fn fail_to_sync(&mut self, path: &Path) {
        let Some(versions) = self.versions(path) else { return };
        let last = versions.last().clone();
        let dirty =
            last.pages.iter().enumerate().filter(|(at, page)| !versions.synced.is_page(*at, page));
        versions.clean.extend(dirty.map(|(at, page)| (at, Arc::clone(page))));
    }

    fn sync_dir(&mut self, path: &Path) {
        let Some(&folder) = self.live.get(path) else { return };
        self.kept.settle(|change| change.folder == folder);
    }
}

impl Kept {
    /// Makes those changes durable that `is_kept` names, and those without which they do not stand.
    fn settle(&mut self, mut is_kept: impl FnMut(&Change) -> bool) {
        let mut kept: BTreeSet<u64> = BTreeSet::new();
        for change in self.changes.iter().filter(|change| is_kept(change)) {
            kept.extend(change.follows);
            kept.insert(change.id);
        }
        for change in std::mem::take(&mut self.changes) {
            if kept.contains(&change.id) {
                self.apply(&change);
            } else {
                self.changes.push(change);
            }
        }
    }

    fn apply(&mut self, change: &Change) {
        let Some(names) = self.folders.get_mut(&change.folder).map(Arc::make_mut) else { return };
        match change.to {
            Some(node) => drop(names.insert(change.name.clone(), node)),
            None => drop(names.remove(&change.name)),
        }
    }
}

impl Disk {
    /// Stands behind `root` from now on. What is there is durable. This thread is taken to log below it.
    pub(crate) fn watch(root: &Path) -> Watched {
        Self::stand_behind(root, false)
    }

    /// The same, only to let operations fail: nothing is kept.
    pub(crate) fn watch_to_fail(root: &Path) -> Watched {
        Self::stand_behind(root, true)
    }

    fn stand_behind(root: &Path, only_fails: bool) -> Watched {
        let disk = Self {
            root: root.to_owned(),
            state: Mutex::default(),
            between: OnceLock::new(),
            only_fails,
        };
        disk.take_in(Path::new(""));
        let disk = Arc::new(disk);
        let mut all = WATCHED.write().unwrap_or_else(PoisonError::into_inner);
        all.push(Arc::clone(&disk));
        // ORDERING: Relaxed, as in `ask`.
        WATCHED_COUNT.store(all.len(), Ordering::Relaxed);
        drop(all);
        let watched = Watched(disk);
        watched.enter();
        watched
    }

    /// Takes a folder and what is in it for durable.
    fn take_in(&self, folder: &Path) {
        let mut state = self.lock();
        if folder == Path::new("") {
            state.live.insert(PathBuf::new(), ROOT);
            state.kept.folders.insert(ROOT, Arc::default());
        }
        let path = self.root.join(folder);
        let mut folders = Vec::new();
        for entry in fs::read_dir(&path).expect("the folder is there") {
            let entry = entry.expect("the folder can be read");
            let below = folder.join(entry.file_name());
            let is_folder = entry.file_type().expect("it has a type").is_dir();
            state.make(&below, is_folder);
            if is_folder {
                folders.push(below);
            } else {
                let bytes = Contents::read(&entry.path(), &Contents::default());
                let versions = state.versions(&below).expect("it was just made");
                versions.synced = bytes.expect("the file can be read");
            }
        }
        state.sync_dir(folder);
        drop(state);
        for folder in folders {
            self.take_in(&folder);
        }
    }

    /// Calls `between` before each operation from now on: a place where another thread may go on.
    pub(crate) fn call_between(&self, between: impl Fn() + Send + Sync + 'static) {
        drop(self.between.set(Box::new(between)));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets operations fail, counted from here; `None` ends it.
    pub(crate) fn fail(&self, fault: Option<Fault>) {
        let mut state = self.lock();
        state.asked = 0;
        state.fault = fault;
    }

    /// How many operations there were since then that the fault concerns.
    pub(crate) fn asked(&self) -> u64 {
        self.lock().asked
    }

    /// Takes a moment. Whoever stores through mappings calls this where a power cut would be of interest.
    pub(crate) fn moment(&self, what: impl fmt::Display) {
        if self.only_fails {
            return;
        }
        let mut state = self.lock();
        state.look_around(&self.root);
        let kept = state.kept.clone();
        let live = state.live.clone();
        state.moments.push(Moment { what: what.to_string(), kept, live });
    }

    /// The moments since the last call.
    pub(crate) fn moments(&self) -> Vec<Moment> {
        std::mem::take(&mut self.lock().moments)
    }

    /// How many moments there are since the last call of [`Disk::moments`].
    pub(crate) fn count(&self) -> usize {
        self.lock().moments.len()
    }

    fn before(&self, op: Op, paths: &[&Path]) -> io::Result<()> {
        let mut state = self.lock();
        if let Some(fault) = state.fault.filter(|fault| fault.failing.concerns(op)) {
            let number = state.asked;
            state.asked += 1;
            if (fault.after..fault.after.saturating_add(fault.times)).contains(&number) {
                if op == Op::Sync {
                    state.look(&self.root, paths[0]);
                    state.fail_to_sync(paths[0]);
                }
                return Err(fault.failing.error());
            }
        }
        if self.only_fails {
            return Ok(());
        }
        // What is removed keeps what it held.
        if matches!(op, Op::Remove | Op::Rename) {
            state.look_around(&self.root);
        }
        if op == Op::Sync {
            // Stores that come while the sync is under way may not be covered by it.
            state.look(&self.root, paths[0]);
        }
        Ok(())
    }

    fn after(&self, op: Op, paths: &[&Path]) {
        if self.only_fails {
            return;
        }
        let mut state = self.lock();
        match (op, paths) {
            (Op::Read, _) => return,
            (Op::Create, [path]) => state.make(path, false),
            (Op::CreateDir, [path]) => state.make(path, true),
            (Op::Write, [path]) => state.look(&self.root, path),
            (Op::WriteAt, [path]) => {
                if let Some(versions) = state.versions(path) {
                    versions.written_on = true;
                }
                state.look(&self.root, path);
            }
            (Op::Reserve | Op::Map, [path]) => {
                if let Some(versions) = state.versions(path) {
                    versions.mapped = true;
                }
                state.look(&self.root, path);
            }
            (Op::Link, [path, second]) => {
                let node = state.live.get(*path).copied();
                state.set(second, node, None);
            }
            (Op::Rename, [from, to]) => state.rename(from, to),
            (Op::Remove | Op::RemoveDir, [path]) => state.set(path, None, None),
            (Op::Sync, [path]) => state.sync(path),
            (Op::SyncDir, [path]) => state.sync_dir(path),
            _ => {}
        }
        drop(state);
        let names: Vec<_> = paths.iter().map(|path| path.to_string_lossy()).collect();
        self.moment(format_args!("{op:?} {}", names.join(" to ")));
    }
}

/// What programs saw and what the disk was bound to keep, at one moment.
#[derive(Debug)]
pub(crate) struct Moment {
    /// What had just been done.
    pub(crate) what: String,
    kept: Kept,
    live: BTreeMap<PathBuf, Node>,
}

/// Where what a disk keeps is decided: a number below the one given.
pub(crate) type Choose<'a> = &'a mut dyn FnMut(usize) -> usize;

impl Moment {
    /// What is there after a kill: everything.
    pub(crate) fn killed(&self) -> Image {
        let mut image = Image { story: "killed".to_owned(), ..Image::default() };
        for (path, node) in &self.live {
            match self.kept.files.get(node) {
                Some(versions) => {
                    image.files.insert(path.clone(), versions.last().clone());
                }
                None => drop(image.folders.insert(path.clone())),
            }
        }
        image
    }

    /// What a power cut leaves where every change is either kept whole or lost whole: of a page, what was synced or
    /// what it holds.
    pub(crate) fn cut(&self, choose: Choose<'_>) -> Image {
        self.image(choose, |versions, _, choose| {
            let (old, new) = (&versions.synced, versions.last());
            let len = if old.len != new.len && choose(2) == 0 { old.len } else { new.len };
            let page = |at| {
                let (old, new) = (old.page(at), new.page(at));
                if old != new && choose(2) == 0 { old } else { new }
            };
            whole(len, page)
        })
    }

    /// The same where a page may also be of a moment in between, or torn.
    pub(crate) fn torn(&self, choose: Choose<'_>) -> Image {
        self.image(choose, |versions, story, choose| {
            let all: Vec<&Contents> =
                std::iter::once(&versions.synced).chain(&versions.since).collect();
            let len = all[choose(all.len())].len;
            let page = |at| {
                let mut pages: Vec<Page> = all.iter().map(|one| one.page(at)).collect();
                pages.dedup();
                if pages.len() == 1 {
                    return pages[0];
                }
                let mut page = pages[choose(pages.len())];
                if choose(3) == 0 {
                    story.push_str(" torn");
                    let other = pages[choose(pages.len())];
                    for sector in (0..PAGE).step_by(SECTOR).filter(|_| choose(2) == 0) {
                        page[sector..sector + SECTOR]
                            .copy_from_slice(&other[sector..sector + SECTOR]);
                    }
                }
                page
            };
            whole(len, page)
        })
    }

    fn image<'a>(
        &'a self,
        choose: Choose<'_>,
        mut contents: impl FnMut(&'a Versions, &mut String, Choose<'_>) -> Contents,
    ) -> Image {
        let mut kept = self.kept.clone();
        let mut image = Image::default();
        kept.settle(|_| choose(2) == 1);
        for change in &kept.changes {
            let what = if change.to.is_some() { "name" } else { "removal of" };
            write!(image.story, "{what} {} lost; ", change.name).expect("memory takes every write");
        }
        let mut folders = vec![(PathBuf::new(), ROOT)];
        while let Some((path, folder)) = folders.pop() {
            for (name, node) in kept.folders[&folder].iter() {
                let path = path.join(name);
                match self.kept.files.get(node) {
                    Some(versions) if versions.since.is_empty() => {
                        image.files.insert(path, versions.synced.clone());
                    }
                    Some(versions) => {
                        write!(image.story, " {}:", path.display())
                            .expect("memory takes every write");
                        let contents = contents(versions, &mut image.story, choose);
                        write!(image.story, " {} bytes;", contents.len)
                            .expect("memory takes every write");
                        image.files.insert(path, contents);
                    }
                    None => folders.push((path, *node)),
                }
            }
            image.folders.insert(path);
        }
        image
    }
}

fn whole(len: u64, mut page: impl FnMut(usize) -> Page) -> Contents {
    let pages = usize::try_from(len).unwrap_or(usize::MAX).div_ceil(PAGE);
    Contents { len, pages: (0..pages).map(|at| Arc::new(page(at))).collect() }
}

/// A disk as it comes out of a crash.
#[derive(Debug, Default)]
pub(crate) struct Image {
    /// What was kept and what was lost.
    pub(crate) story: String,
    folders: BTreeSet<PathBuf>,
    files: BTreeMap<PathBuf, Contents>,
}

impl Image {
    /// Makes it, in an empty folder. Its folders are old, so that what is half made may go.
    pub(crate) fn write(&self, root: &Path) -> io::Result<()> {
        for folder in &self.folders {
            fs::create_dir_all(root.join(folder))?;
        }
        for (path, contents) in &self.files {
            let file = File::create_new(root.join(path))?;
            file.set_len(contents.len)?;
            for (at, page) in (0_u64..).step_by(PAGE).zip(&contents.pages) {
                let size = usize::try_from(contents.len - at).unwrap_or(PAGE).min(PAGE);
                if page.iter().any(|&byte| byte != 0) {
                    file.write_all_at(&page[..size], at)?;
                }
            }
        }
        for folder in &self.folders {
            File::open(root.join(folder))?.set_modified(SystemTime::UNIX_EPOCH)?;
        }
        Ok(())
    }
}
