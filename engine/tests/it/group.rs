//! A lake that a group shares: whoever is in the group logs, flushes, takes in and compacts, whoever made a file.
//!
//! The members are this test binary again, which begins as root and becomes another user before it does anything.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use runlake_engine::{Lake, LakeOptions, State};
use rustix::{
    fs::Mode,
    process::{Gid, Uid},
};

use crate::points;

const ROLE: &str = "RUNLAKE_TEST_MEMBER";
const GROUP: u32 = 61_100;
const ALICE: u32 = 61_001;
const BOB: u32 = 61_002;
const ROWS: i64 = 1000;

/// Not a test of its own: a user who does `what` with the lake.
#[test]
fn member() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let [what, user, group, path] = role.split('|').collect::<Vec<_>>()[..] else {
        panic!("{role}")
    };
    let number = |text: &str| text.parse::<u32>().unwrap();
    let (uid, gid) = (Uid::from_raw(number(user)), Gid::from_raw(number(user)));
    rustix::thread::set_thread_groups(&[Gid::from_raw(number(group))]).unwrap();
    rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
    rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
    // As unfriendly as it gets.
    rustix::process::umask(Mode::from_raw_mode(0o077));
    match what {
        "log" => {
            let mut options = LakeOptions::default();
            (options.create, options.shared_group) = (true, true);
            let lake = options.open(path).unwrap();
            let run = lake.run("p").id(user).start().unwrap();
            for step in 0..ROWS {
                run.log_named(step, &[("loss", 0.5)]).unwrap();
                if step % 300 == 0 {
                    lake.flush().unwrap();
                }
            }
            // Without a word, and with rows in the log.
            std::process::abort();
        }
        "care" => {
            let lake = Lake::open(path).unwrap();
            let before = points(&lake.snapshot().unwrap()).len();
            let adopted = lake.adopt(&mut |_, _| {}).unwrap().adopted;
            let compacted = lake.compact(true, &mut |_, _| true).unwrap();
            assert_eq!(compacted.problems, [""; 0]);
            assert!(compacted.merged > 1, "it merges what another wrote");
            let snapshot = lake.snapshot().unwrap();
            assert_eq!((points(&snapshot).len(), snapshot.tail().len()), (before, 0));
            println!("\ncared {adopted} {before}");
        }
        "stranger" => {
            let denied = Lake::open(path).unwrap_err();
            println!("\nstranger {denied}");
        }
        other => panic!("{other}"),
    }
}

/// What a user said who did `what`.
fn member_does(what: &str, user: u32, group: u32, path: &Path) -> String {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["group::member", "--exact", "--nocapture", "--test-threads=1"])
        .env(ROLE, format!("{what}|{user}|{group}|{}", path.display()))
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert_eq!(child.status.success(), what != "log", "{what} by {user}: {}", child.status);
    String::from_utf8(child.stdout).unwrap()
}

/// Everything below `folder`.
fn all_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![folder.to_owned()];
    if folder.is_dir() {
        for entry in fs::read_dir(folder).unwrap() {
            found.extend(all_below(&entry.unwrap().path()));
        }
    }
    found
}

#[test]
fn members_of_a_group_take_in_and_compact_what_others_of_it_logged() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can become other users");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let lab = folder.path().join("lab");
    fs::create_dir(&lab).unwrap();
    chown(&lab, None, Some(GROUP)).unwrap();
    fs::set_permissions(&lab, Permissions::from_mode(0o2770)).unwrap();
    let path = lab.join("runs.lake");

    member_does("log", ALICE, GROUP, &path);
    let said = member_does("care", BOB, GROUP, &path);
    assert!(said.contains(&format!("\ncared 1 {ROWS}\n")), "{said}");
    // And the other way round, with a table that a merge of the other wrote.
    member_does("log", BOB, GROUP, &path);
    member_does("log", BOB, GROUP, &path);
    let said = member_does("care", ALICE, GROUP, &path);
    assert!(said.contains(&format!("\ncared 2 {}\n", 3 * ROWS)), "{said}");

    let snapshot = Lake::open(&path).unwrap().snapshot().unwrap();
    for (user, times) in [(ALICE, 1), (BOB, 2)] {
        let seen = points(&snapshot);
        let of_user = seen.iter().filter(|point| point.0 == user.to_string());
        let mut steps: Vec<i64> = of_user.map(|point| point.3).collect();
        steps.sort_unstable();
        let logged = (0..ROWS).flat_map(|step| vec![step; times]);
        assert!(steps.into_iter().eq(logged), "{user}: a row is lost, or there twice");
        assert_eq!(snapshot.find_run(&user.to_string()).unwrap().state, State::Crashed);
    }
    for file in all_below(&path) {
        let metadata = fs::metadata(&file).unwrap();
        let bits = if metadata.is_dir() { 0o2770 } else { 0o660 };
        assert_eq!(metadata.mode() & bits, bits, "{}", file.display());
        assert_eq!((metadata.gid(), metadata.mode() & 0o7), (GROUP, 0), "{}", file.display());
    }
    fs::set_permissions(&lab, Permissions::from_mode(0o2775)).unwrap();
    let said = member_does("stranger", 61_003, 61_003, &path);
    assert!(said.contains("stranger cannot read"), "{said}");
}

#[test]
fn a_lake_of_one_user_is_as_the_umask_says_also_in_a_folder_of_a_group() {
    let folder = tempfile::tempdir().unwrap();
    // What `mkdir` leaves where the folder around it is setgid and the umask is the usual one.
    let path = folder.path().join("runs.lake");
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o2755)).unwrap();
    let lake = Lake::open_or_create(&path).unwrap();
    let run = lake.run("p").start().unwrap();
    run.log_named(0, &[("loss", 0.5)]).unwrap();
    lake.flush().unwrap();
    assert_eq!(lake.health().unwrap().group, None);
    let umask = fs::metadata(path.join("LAKE")).unwrap().mode();
    for file in all_below(&path) {
        let metadata = fs::metadata(&file).unwrap();
        assert!(metadata.is_dir() || metadata.mode() == umask, "{}", file.display());
    }
}
