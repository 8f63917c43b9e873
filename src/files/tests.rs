use super::*;

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

#[test]
fn only_another_content_is_a_change() {
    let folder = folder(&[("a", "one"), ("b", "two")]);
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    let mut files = Files::default();
    assert_eq!(files.read_text(&a).unwrap(), "one");
    assert_eq!(files.read(&b).unwrap(), b"two");
    assert_eq!(files.paths().collect::<Vec<_>>(), [&*a, &*b]);
    assert!(!files.changed());
    // Written again, and replaced, with the same bytes.
    fs::write(&a, "one").unwrap();
    fs::write(folder.path().join("new"), "two").unwrap();
    fs::rename(folder.path().join("new"), &b).unwrap();
    assert!(!files.changed());
    // With the same length, and immediately.
    fs::write(&a, "eno").unwrap();
    assert!(files.changed());
    fs::write(&a, "one").unwrap();
    assert!(!files.changed());
    fs::remove_file(&b).unwrap();
    assert!(files.changed());
}

#[test]
fn what_comes_or_can_be_read_again_is_a_change() {
    let folder = folder(&[]);
    let path = folder.path().join("a");
    let mut files = Files::default();
    assert_eq!(files.read(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert!(!files.changed());
    fs::write(&path, "").unwrap();
    assert!(files.changed());
}

#[test]
fn links_are_followed_to_what_they_lead_to_now() {
    let folder = folder(&[("one", "1"), ("two", "2"), ("also two", "2")]);
    let at = |name: &str| folder.path().join(name);
    let point = |to: &str| {
        std::os::unix::fs::symlink(to, at("next")).unwrap();
        fs::rename(at("next"), at("link")).unwrap();
    };
    point("one");
    let mut files = Files::default();
    files.read(&at("link")).unwrap();
    point("two");
    assert!(files.changed());
    let mut files = Files::default();
    files.read(&at("link")).unwrap();
    point("also two");
    assert!(!files.changed());
}

#[test]
fn a_folder_changes_with_the_config_files_in_it() {
    let folder = folder(&[("b.yaml", ""), ("a.toml", ""), (".hidden.yaml", ""), ("notes.txt", "")]);
    let mut files = Files::default();
    let list = files.list(folder.path()).unwrap();
    assert_eq!(list, [folder.path().join("a.toml"), folder.path().join("b.yaml")]);
    fs::write(folder.path().join("more.txt"), "").unwrap();
    assert!(!files.changed());
    fs::write(folder.path().join("c.yml"), "").unwrap();
    assert!(files.changed());
}

#[test]
fn a_folder_lists_what_cannot_be_read() {
    let folder = folder(&[("a.yaml", ""), (".b.yaml", "")]);
    let at = |name: &str| folder.path().join(name);
    std::os::unix::fs::symlink("nowhere", at("dangling.yaml")).unwrap();
    std::os::unix::fs::symlink("loop.yaml", at("loop.yaml")).unwrap();
    std::os::unix::fs::symlink("folder.yaml", at("link to folder.yml")).unwrap();
    std::os::unix::fs::symlink("nowhere", at(".#a.yaml")).unwrap();
    fs::create_dir(at("folder.yaml")).unwrap();
    make_pipe(&at("pipe.toml"));
    let mut files = Files::default();
    let list = files.list(folder.path()).unwrap();
    let names = ["a.yaml", "dangling.yaml", "loop.yaml", "pipe.toml"];
    assert_eq!(list, names.map(at));
    for path in &list[1..] {
        files.read(path).unwrap_err();
    }
    assert!(!files.changed());
    // The link leads somewhere again.
    fs::write(at("nowhere"), "").unwrap();
    assert!(files.changed());
}

#[test]
fn a_file_that_has_settled_is_not_read_again() {
    let path = &Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let mut files = Files::default();
    files.read(path).unwrap();
    let seen = files.0.get_mut(path).unwrap();
    // It may have been checked out just now.
    while fs::metadata(path).ok().and_then(|meta| settled(&meta)).is_none() {
        std::thread::yield_now();
    }
    assert!(!seen.changed(path) && seen.stamp.is_some());
    // Reading the bytes would show that this is not their digest.
    seen.digest = None;
    assert!(!seen.changed(path));
    seen.stamp = None;
    assert!(seen.changed(path));
}

#[test]
fn what_was_read_first_counts() {
    let folder = folder(&[("a", "one")]);
    let path = folder.path().join("a");
    let (mut first, mut second) = (Files::default(), Files::default());
    first.read(&path).unwrap();
    fs::write(&path, "two").unwrap();
    second.read(&path).unwrap();
    assert!(!first.agree(&second, &path) && first.agree(&first.clone(), &path));
    assert!(!second.changed());
    first.extend(second);
    assert!(first.changed(), "between the two reads it changed");
    let missing = folder.path().join("missing");
    let mut files = Files::default();
    files.read(&missing).unwrap_err();
    assert!(!files.agree(&files.clone(), &missing));
}

#[test]
fn a_pipe_is_read_once() {
    let (reader, writer) = io::pipe().unwrap();
    io::Write::write_all(&mut &writer, b"agent: {}").unwrap();
    drop(writer);
    let path = PathBuf::from(format!("/dev/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader)));
    let mut files = Files::default();
    assert_eq!(files.read_text(&path).unwrap(), "agent: {}");
    assert!(!files.changed());
}

#[test]
fn a_file_that_is_too_large_is_not_read_and_not_forgotten() {
    let folder = folder(&[]);
    let path = folder.path().join("a");
    let file = fs::File::create(&path).unwrap();
    file.set_len(LARGEST + 1).unwrap();
    let mut files = Files::default();
    assert_eq!(files.read(&path).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    assert!(!files.changed());
    file.set_len(1).unwrap();
    assert!(files.changed());
}

#[test]
fn it_prints_paths_alone() {
    let folder = folder(&[("a", "hunter2")]);
    let mut files = Files::default();
    files.read(&folder.path().join("a")).unwrap();
    assert_eq!(format!("{files:?}"), format!("{{{:?}}}", folder.path().join("a")));
}

#[test]
fn what_is_no_text_is_said() {
    let folder = folder(&[]);
    let path = folder.path().join("a");
    fs::write(&path, b"a\nb\n\nK\xf6ln").unwrap();
    let said = Files::default().read_text(&path).unwrap_err().to_string();
    assert_eq!(said, "line 4 is not UTF-8, as it must be");
}

fn make_pipe(path: &Path) {
    assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn only_regular_files_are_read_and_nothing_hangs() {
    let folder = folder(&[("a", "one")]);
    let at = |name: &str| folder.path().join(name);
    make_pipe(&at("pipe"));
    std::os::unix::fs::symlink("pipe", at("link to pipe")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    let said = |path: &Path| Files::default().read(path).unwrap_err().to_string();
    for (path, kind) in [
        (at("pipe"), "a named pipe"),
        (at("link to pipe"), "a named pipe"),
        (at("socket"), "a socket"),
        (folder.path().to_owned(), "a directory"),
        (PathBuf::from("/dev/zero"), "a device"),
        (PathBuf::from("/dev/tty"), "a device"),
    ] {
        assert_eq!(said(&path), format!("it is {kind}, not a regular file"), "{}", path.display());
    }
    // Files in /proc report a size of zero, but are regular files.
    assert!(!Files::default().read(Path::new("/proc/self/stat")).unwrap().is_empty());
}

#[test]
fn a_file_that_becomes_a_pipe_has_changed_and_is_found_again() {
    let folder = folder(&[("a", "one")]);
    let path = folder.path().join("a");
    let mut files = Files::default();
    files.read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    make_pipe(&path);
    assert!(files.changed());
    let mut files = Files::default();
    files.read(&path).unwrap_err();
    assert!(!files.changed());
    fs::remove_file(&path).unwrap();
    fs::write(&path, "one").unwrap();
    assert!(files.changed());
}

#[test]
fn no_more_is_read_than_was_agreed() {
    let folder = folder(&[("a", "four")]);
    let path = folder.path().join("a");
    assert_eq!(Files::default().read_at_most(&path, 4).unwrap(), b"four");
    let mut files = Files::default();
    assert_eq!(files.read_at_most(&path, 3).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    assert!(!files.changed());
    fs::write(&path, "fou").unwrap();
    assert!(files.changed());
    // The limit also applies to files that claim to be empty.
    let endless = Files::default().read_at_most(Path::new("/proc/self/maps"), 10).unwrap_err();
    assert_eq!(endless.kind(), io::ErrorKind::FileTooLarge);
}
