//! The commit of a git repository, read from its files: git itself is never run, so nothing waits for it.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

/// Files of a repository beyond this size are not what they seem.
const LARGEST: u64 = 16 << 20;

/// The commit that is checked out around `directory` and the address of its remote, without any password in it.
pub(crate) fn describe(directory: &Path) -> Option<(Option<String>, Option<String>)> {
    let (git, common) = directory.ancestors().find_map(folders)?;
    let head = read(&git.join("HEAD"))?;
    let commit = match head.trim().strip_prefix("ref:") {
        Some(reference) => {
            let reference = reference.trim();
            [&git, &common]
                .iter()
                .find_map(|folder| read(&folder.join(reference)))
                .or_else(|| packed(&read(&common.join("packed-refs"))?, reference))
        }
        None => Some(head),
    };
    let commit = commit.map(|hash| hash.trim().to_owned()).filter(|hash| is_hash(hash));
    let remote = read(&common.join("config")).and_then(|config| remote(&config));
    Some((commit, remote))
}

/// The git folder of a work tree and the one it shares with others: the same unless `git worktree` made it.
fn folders(directory: &Path) -> Option<(PathBuf, PathBuf)> {
    let dot_git = directory.join(".git");
    let kind = fs::metadata(&dot_git).ok()?;
    if kind.is_dir() {
        return Some((dot_git.clone(), dot_git));
    }
    let text = read(&dot_git)?;
    let git = directory.join(text.trim().strip_prefix("gitdir:")?.trim());
    let common = match read(&git.join("commondir")) {
        Some(path) => git.join(path.trim()),
        None => git.clone(),
    };
    Some((git, common))
}

fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    fs::File::open(path).ok()?.take(LARGEST).read_to_string(&mut text).ok()?;
    Some(text)
}

fn packed(references: &str, wanted: &str) -> Option<String> {
    references.lines().find_map(|line| {
        let (hash, name) = line.split_once(' ')?;
        (name == wanted).then(|| hash.to_owned())
    })
}

fn is_hash(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The address of `origin`, or of the first remote.
fn remote(config: &str) -> Option<String> {
    let mut section = "";
    let mut first = None;
    for line in config.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
        } else if section.starts_with("[remote ")
            && let Some((key, value)) = line.split_once('=')
            && key.trim() == "url"
        {
            let address = without_password(value.trim());
            if section == "[remote \"origin\"]" {
                return Some(address);
            }
            first = first.or(Some(address));
        }
    }
    first
}

/// Access tokens are often written into addresses; the lake is no place for them.
fn without_password(address: &str) -> String {
    match address.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
            format!("{scheme}://{host}{path}")
        }
        None => address.to_owned(),
    }
}
