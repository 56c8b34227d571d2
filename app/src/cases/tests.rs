//! Folders of empty files: only names are looked at here.

use super::*;
use std::fs;
use std::path::Path;

struct Folder(tempfile::TempDir);

impl Folder {
    fn of(names: &[&str]) -> Folder {
        let folder = Folder(tempfile::tempdir().unwrap());
        names.iter().for_each(|name| folder.add(name));
        folder
    }

    fn add(&self, name: &str) {
        let path = self.at(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"").unwrap();
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn select(&self, change: impl FnOnce(&mut Selection), channels: usize) -> Result<Cases, Error> {
        let mut selection = Selection::of(vec![self.0.path().to_owned()]);
        change(&mut selection);
        selection.list()?.cases(channels)
    }

    fn cases(&self, channels: usize) -> Cases {
        self.select(|_| {}, channels).unwrap()
    }

    fn one(&self, name: &str, channels: usize) -> String {
        let case = find(&[self.at(name)], channels).unwrap().found.remove(0).unwrap();
        case.name
    }
}

/// Names of cases; `!` and the sentence of what is none.
fn names(cases: &Cases) -> Vec<String> {
    let name = |found: &Result<Case, NoCase>| match found {
        Ok(case) => case.name.clone(),
        Err(none) => format!("!{}: {}", none.name, none.sentence),
    };
    cases.found.iter().map(name).collect()
}

#[test]
fn channels_group_by_case_and_orphans_are_named() {
    let names_in = ["a_0000.nii.gz", "a_0001.nii.gz", "b_0001.nii.gz", "c.nii.gz", "d_0000.nii", "d_0001.nii"];
    let found = names(&Folder::of(&names_in).cases(2));
    assert_eq!((found[0].as_str(), found[3].as_str()), ("a", "d"));
    assert!(found[1].starts_with("!b: ") && found[1].contains("missing: 0000"), "{found:?}");
    assert!(found[2].starts_with("!c: ") && found[2].contains("no channel number; name it c_0000 ... c_0001"));
    // One channel more than the model has is not left out without a word.
    let found = names(&Folder::of(&["a_0000.nii", "a_0001.nii", "a_0002.nii"]).cases(2));
    assert!(found.len() == 1 && found[0].contains("has channel(s) 0000, 0001, 0002"), "{found:?}");
}

#[test]
fn a_number_is_a_channel_only_if_the_model_has_it() {
    let patients = Folder::of(&["p_0001.nii.gz", "p_0002.nii.gz", "smith_2023.nii", "T1.nii.gz", "q_0000.nii"]);
    assert_eq!(names(&patients.cases(1)), ["T1", "p_0001", "p_0002", "q", "smith_2023"]);
    assert_eq!(patients.one("p_0001.nii.gz", 1), "p_0001");
    assert_eq!(patients.one("p_0002.nii.gz", 2), "p_0002");
    assert_eq!(patients.one("smith_2023.nii", 4), "smith_2023");
    assert_eq!(patients.one("q_0000.nii", 1), "q");
    // Two channels of one patient are not two patients.
    let found = names(&Folder::of(&["p_0000.nii", "p_0001.nii"]).cases(1));
    assert!(found.len() == 1 && found[0].contains("takes 1 channel(s); the folder has channel(s) 0000, 0001"));
}

#[test]
fn two_inputs_never_have_one_output() {
    let folder = Folder::of(&["a_0000.nii", "a_0000.nii.gz", "b.nii", "b.nii.gz", "c.nii", "c_0000.nii.gz"]);
    let found = names(&folder.cases(1));
    assert_eq!(found.len(), 3);
    assert!(found[0].contains("twice") && found[0].contains("a_0000.nii and"), "{found:?}");
    for (sentence, files) in [(&found[1], ["b.nii and of", "b.nii.gz"]), (&found[2], ["c.nii and of", "c_0000.nii.gz"])]
    {
        assert!(sentence.contains("would have one name") && files.iter().all(|file| sentence.contains(file)));
    }
}

#[test]
fn channel_files_in_the_wrong_order_are_refused() {
    let folder = Folder::of(&["a_0000.nii", "a_0001.nii", "b_0001.nii"]);
    let given = |names: [&str; 2]| find(&names.map(|name| folder.at(name)), 2);
    assert_eq!(names(&given(["a_0000.nii", "a_0001.nii"]).unwrap()), ["a"]);
    assert_eq!(names(&given(["a_0001.nii", "b_0001.nii"]).unwrap()), ["a_0001"]);
    let error = given(["a_0001.nii", "a_0000.nii"]).unwrap_err();
    assert!(error.kind() == ErrorKind::Usage && error.to_string().contains("is channel 1 by its name"), "{error}");
    // The first stands for all.
    let case = find(&[folder.at("a_0000.nii")], 2).unwrap().found.remove(0).unwrap();
    assert_eq!(case.channels, [folder.at("a_0000.nii"), folder.at("a_0001.nii")]);
}

#[test]
fn what_is_left_out_is_counted_and_named() {
    let folder = Folder::of(&["a.nii", ".hidden.nii", ".DS_Store", "x.xyz", "y.xyz", "z.nii.bz2", "IM1", "sub/b.nii"]);
    let cases = folder.cases(1);
    assert_eq!(names(&cases), ["a"]);
    let said: Vec<String> = cases.left_out.iter().map(LeftOut::to_string).collect();
    let expected = [
        "1 sub-folder not searched",
        "1 hidden file",
        "1 file without an ending",
        "1 .nii.bz2 file (NIfTI in bzip2 is not read)",
        "2 .xyz files (this format is not read)",
    ];
    assert_eq!(said, expected);
    assert_eq!(
        cases.left_out[4].names,
        [folder.at("x.xyz").display().to_string(), folder.at("y.xyz").display().to_string()]
    );
    let error = Folder::of(&["x.xyz"]).select(|_| {}, 1).unwrap_err();
    assert!(error.to_string().contains("holds no scans") && error.to_string().contains("1 .xyz file"), "{error}");
}

#[test]
fn the_second_file_of_a_scan_is_no_scan_and_alone_it_is_named() {
    let folder = Folder::of(&["a_0000.hdr", "a_0000.img", "b.mhd", "b.raw", "c.img"]);
    let cases = folder.cases(1);
    assert_eq!(names(&cases), ["a", "b"]);
    let said: Vec<String> = cases.left_out.iter().map(LeftOut::to_string).collect();
    assert_eq!(said, ["1 .img file (this format is not read)"]);
}

#[test]
fn sub_folders_are_searched_if_asked_and_outputs_keep_them() {
    let folder = Folder::of(&["b.nii", "sub/b.nii", "sub/deep/c_0000.nii", "a.b/d.nii"]);
    let cases = folder.select(|selection| selection.recursive = true, 1).unwrap();
    assert_eq!(names(&cases), ["a.b/d", "b", "sub/b", "sub/deep/c"]);
    assert!(cases.left_out.is_empty());
    let labels: Vec<&Path> = cases.found.iter().flatten().map(|case| case.label.as_path()).collect();
    assert_eq!(labels[3], Path::new("sub/deep/c"));
}

#[test]
fn a_list_names_one_scan_a_line() {
    let folder = Folder::of(&["x/a_0000.nii", "x/a_0001.nii", "y/b_0000.nii", "y/b_0001.nii", "z/b_0000.nii"]);
    let list = folder.at("scans.txt");
    let listed = |lines: &[&str], channels: usize| {
        let lines: Vec<String> = lines.iter().map(|line| folder.at(line).display().to_string()).collect();
        fs::write(&list, format!("\u{feff}{}\r\n\n", lines.join("\r\n"))).unwrap();
        Selection { list: Some(list.clone()), ..Selection::default() }.list()?.cases(channels)
    };
    let cases = listed(&["y/b_0000.nii", "x/a_0000.nii", "none.nii", "x"], 2).unwrap();
    let found = names(&cases);
    assert!(cases.many && found.len() == 4);
    assert_eq!(found[..2], ["b", "a"]);
    assert!(found[2].starts_with("!none: ") && found[2].contains("does not exist"), "{found:?}");
    assert!(found[3].contains("is a folder"), "{found:?}");
    let found = names(&listed(&["y/b_0000.nii", "z/b_0000.nii", "x/a_0001.nii"], 1).unwrap());
    assert!(found[0].contains("y/b_0000.nii and of") && found[1].contains("z/b_0000.nii"), "{found:?}");
    assert_eq!(found[2], "a_0001");
    assert!(listed(&[], 1).unwrap_err().to_string().contains("names no scan"));
}

#[test]
fn parts_are_nnunets() {
    let folder = Folder::of(&["a.nii", "b.nii", "c.nii", "d.nii", "e.nii"]);
    let part = |text: &str| folder.select(|selection| selection.part = Some(text.parse().unwrap()), 1).unwrap();
    assert_eq!(names(&part("0/2")), ["a", "c", "e"]);
    assert_eq!(names(&part("1/2")), ["b", "d"]);
    assert_eq!(names(&part("0/1")).len(), 5);
    assert!(part("6/7").found.is_empty());
    let wrong = |text: &str| text.parse::<Part>().unwrap_err();
    assert!(wrong("2/2").contains("0/2 to 1/2"), "{}", wrong("2/2"));
    assert!(wrong("1/1").contains("0/1"));
    for text in ["0/0", "x", "1", "-1/2", "1/2/3", ""] {
        assert!(wrong(text).contains("0/4 to 3/4"), "{text}");
    }
}

#[test]
fn options_that_do_not_suit_the_input_are_refused() {
    let folder = Folder::of(&["a.nii", "scans.txt"]);
    let refused = |selection: Selection| selection.list().unwrap_err().kind() == ErrorKind::Usage;
    let one = || Selection::of(vec![folder.at("a.nii")]);
    assert!(refused(Selection::default()));
    assert!(refused(Selection { recursive: true, ..one() }));
    assert!(refused(Selection { part: Some("0/2".parse().unwrap()), ..one() }));
    assert!(refused(Selection { list: Some(folder.at("scans.txt")), ..one() }));
    assert!(refused(Selection { list: Some(folder.at("scans.txt")), recursive: true, ..Selection::default() }));
    assert!(refused(Selection::of(vec![folder.at("a.nii"), folder.at("")])));
}

#[test]
#[cfg(unix)]
fn names_that_are_no_text_links_to_nowhere_and_pipes_are_seen() {
    use std::os::unix::ffi::OsStrExt;
    let folder = Folder::of(&["a.nii", "B.NII"]);
    let name = std::ffi::OsStr::from_bytes(b"M\xfcller_0000.nii");
    fs::write(folder.0.path().join(name), b"").unwrap();
    std::os::unix::fs::symlink("../.annex/none", folder.at("link_0000.nii")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(folder.at("pipe.nii")).status().unwrap().success());
    let cases = folder.cases(1);
    let found = names(&cases);
    assert_eq!((found[0].as_str(), found[1].as_str(), found[2].as_str()), ("B", "M\u{fffd}ller", "a"));
    let label = cases.found[1].as_ref().unwrap().label.as_os_str();
    assert_eq!(label.as_bytes(), b"M\xfcller");
    assert!(found[3].starts_with("!link: ") && found[3].contains("a link to ../.annex/none"), "{found:?}");
    assert!(found[4].starts_with("!pipe: ") && found[4].contains("is a pipe"), "{found:?}");
}

#[test]
#[cfg(unix)]
fn links_in_a_circle_end() {
    let folder = Folder::of(&["sub/a.nii"]);
    std::os::unix::fs::symlink("..", folder.at("sub/up")).unwrap();
    let cases = folder.select(|selection| selection.recursive = true, 1).unwrap();
    assert_eq!(names(&cases), ["sub/a"]);
    assert_eq!(cases.left_out[0].reason, Reason::SameFolder);
}
