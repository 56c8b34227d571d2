//! Files put together to cases, once the model's number of channels is known.

use super::left_out::{Reason, words};
use super::listing::{Entry, Listing, Origin};
use super::names::{scan_name, split_channel, with_siblings};
use super::{Case, Cases, NoCase, Part};
use crate::error::{Error, ErrorKind};
use crate::own_labels::is_own;
use scanside_formats::endings;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

/// The files of one name.
#[derive(Default)]
struct Files {
    /// By their numbers.
    channels: Vec<(usize, PathBuf)>,
    /// Without a number.
    whole: Vec<PathBuf>,
    faults: Vec<String>,
}

impl Listing {
    /// The cases for a model with `channels` channels.
    ///
    /// A number at the end of a name is a channel's if the model has that channel. Other numbers are part of the name: of
    /// `p_0007` for a model with one channel, for example.
    ///
    /// # Errors
    /// There is no scan; the channel files of one scan are in the wrong order.
    pub fn cases(self, channels: usize) -> Result<Cases, Error> {
        match self.origin {
            Origin::Files(files) => {
                let case = match files.as_slice() {
                    [one] => single(one, channels),
                    several => ordered(several)?,
                };
                Ok(Cases { found: vec![Ok(case)], left_out: Vec::new(), many: false, kept: self.kept })
            }
            Origin::Folder { .. } | Origin::List { .. } => self.many(channels),
        }
    }

    fn many(mut self, channels: usize) -> Result<Cases, Error> {
        let place = match &self.origin {
            Origin::Folder { root: path, .. } | Origin::List { file: path, .. } => path.clone(),
            Origin::Files(_) => PathBuf::new(),
        };
        let mut found = match std::mem::replace(&mut self.origin, Origin::Files(Vec::new())) {
            Origin::Folder { root, entries } => self.group(&root, entries, channels),
            Origin::List { entries, .. } => self.each(entries, channels),
            Origin::Files(_) => Vec::new(),
        };
        let left_out = self.left_out.list();
        if found.is_empty() {
            let others = if left_out.is_empty() { String::new() } else { format!("; it holds {}", words(&left_out)) };
            let known = endings().collect::<Vec<_>>().join(", ");
            let sentence = format!("{} holds no scans ({known}){others}", place.display());
            return Err(Error::new(ErrorKind::Input, sentence).about(&place));
        }
        if let Some(Part { index, of }) = self.part {
            found = found.into_iter().skip(index).step_by(of).collect();
        }
        Ok(Cases { found, left_out, many: true, kept: self.kept })
    }

    /// Whether a file is a label file of this program, which is then left alone.
    fn leave_alone(&mut self, path: &Path) -> bool {
        let own = is_own(path);
        if own {
            self.left_out.add(Reason::OwnLabels, path);
            self.kept.remove(path);
        }
        own
    }

    /// The cases of a list: each line is a scan, or the first channel of one.
    fn each(&mut self, entries: Vec<Entry>, channels: usize) -> Vec<Result<Case, NoCase>> {
        let mut found = Vec::new();
        let mut places: BTreeMap<PathBuf, Vec<usize>> = BTreeMap::new();
        for Entry { path, fault } in entries {
            let case = single(&path, channels);
            // A channel number says that it is a scan.
            if fault.is_none() && scan_name(&path) == case.label && self.leave_alone(&path) {
                continue;
            }
            places.entry(case.label.clone()).or_default().push(found.len());
            found.push(match fault {
                Some(sentence) => Err(NoCase { name: case.name, sentence }),
                None => Ok(case),
            });
        }
        for (label, mut of) in places {
            of.retain(|&at| found[at].is_ok());
            if of.len() > 1 {
                let first = |&at: &usize| found[at].as_ref().ok().map(|case| case.channels[0].clone());
                let clash = clash(&label, &of.iter().filter_map(first).collect::<Vec<_>>());
                of.into_iter().for_each(|at| found[at] = Err(clash.clone()));
            }
        }
        found
    }

    /// The cases of a folder, in the order of their names.
    fn group(&mut self, root: &Path, entries: Vec<Entry>, channels: usize) -> Vec<Result<Case, NoCase>> {
        let mut files: BTreeMap<PathBuf, Files> = BTreeMap::new();
        let first: HashSet<PathBuf> = entries.iter().filter_map(|entry| first_channel_of(root, &entry.path)).collect();
        for Entry { path, fault } in entries {
            let name = scan_name(&path);
            let inside = folder_inside(root, &path);
            let numbered = split_channel(&name).map(|(case, number)| (inside.join(case), number));
            let of = match numbered {
                // A number that the model does not have is a channel's all the same beside channel 0 of that name.
                Some((case, number)) if number < channels || first.contains(&case) => {
                    let of = files.entry(case).or_default();
                    of.channels.push((number, path));
                    of
                }
                _ if fault.is_none() && self.leave_alone(&path) => continue,
                _ => {
                    let of = files.entry(inside.join(&name)).or_default();
                    if channels > 1 {
                        let (path, name) = (path.display(), name.display());
                        let last = channels - 1;
                        of.faults
                            .push(format!("{path} has no channel number; name it {name}_0000 ... {name}_{last:04}"));
                    }
                    of.whole.push(path);
                    of
                }
            };
            of.faults.extend(fault);
        }
        let mut found: Vec<_> = files.into_iter().collect();
        found.sort_by(|(a, _), (b, _)| a.as_os_str().cmp(b.as_os_str()));
        found.into_iter().map(|(label, files)| files.case(label, channels)).collect()
    }
}

impl Files {
    fn case(mut self, label: PathBuf, channels: usize) -> Result<Case, NoCase> {
        self.channels.sort();
        let twins = self.channels.windows(2).filter(|pair| pair[0].0 == pair[1].0);
        for pair in twins {
            let [(number, one), (_, other)] = pair else { continue };
            let (one, other) = (one.display(), other.display());
            self.faults.push(format!("channel {number} is given twice: {one} and {other}"));
        }
        if !self.faults.is_empty() {
            return Err(NoCase { name: label.display().to_string(), sentence: self.faults.join("; ") });
        }
        let ways = self.whole.len() + usize::from(!self.channels.is_empty());
        if ways > 1 {
            self.whole.extend(self.channels.into_iter().map(|(_, path)| path));
            return Err(clash(&label, &self.whole));
        }
        if !self.whole.is_empty() {
            return Ok(Case::at(label, self.whole));
        }
        let numbers: Vec<usize> = self.channels.iter().map(|(number, _)| *number).collect();
        if numbers.iter().copied().eq(0..channels) {
            return Ok(Case::at(label, self.channels.into_iter().map(|(_, path)| path).collect()));
        }
        Err(NoCase { name: label.display().to_string(), sentence: other_channels(&numbers, channels) })
    }
}

/// The channels of a case are not those of the model.
fn other_channels(numbers: &[usize], channels: usize) -> String {
    let list = |numbers: &mut dyn Iterator<Item = usize>| {
        numbers.map(|number| format!("{number:04}")).collect::<Vec<_>>().join(", ")
    };
    let mut sentence = format!("the model takes {channels} channel(s); the folder has channel(s) ");
    sentence += &list(&mut numbers.iter().copied());
    let missing = list(&mut (0..channels).filter(|number| !numbers.contains(number)));
    if !missing.is_empty() {
        sentence += &format!("; missing: {missing}");
    } else if channels == 1 {
        sentence += "; if these are different scans, rename _0000, or name them in a list";
    }
    sentence
}

/// Several inputs whose labels would have one name.
fn clash(label: &Path, paths: &[PathBuf]) -> NoCase {
    let list: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    let name = label.display().to_string();
    let sentence = format!("the labels of {} would have one name, {name}; rename one, or use two output folders", {
        list.join(" and of ")
    });
    NoCase { name, sentence }
}

/// The case of which a file is the first channel.
fn first_channel_of(root: &Path, path: &Path) -> Option<PathBuf> {
    match split_channel(&scan_name(path)) {
        Some((case, 0)) => Some(folder_inside(root, path).join(case)),
        _ => None,
    }
}

/// The folder of a file, as seen from `root`.
fn folder_inside<'a>(root: &Path, path: &'a Path) -> &'a Path {
    path.parent().and_then(|folder| folder.strip_prefix(root).ok()).unwrap_or(Path::new(""))
}

/// The case of one file, which may be the first of several channel files.
fn single(path: &Path, channels: usize) -> Case {
    let name = scan_name(path);
    let label = match split_channel(&name) {
        Some((case, 0)) => case.into(),
        _ => PathBuf::from(&name),
    };
    Case::at(label, with_siblings(path, channels))
}

/// The case of several channel files. Where their names say which channel each is, they must be in that order.
fn ordered(files: &[PathBuf]) -> Result<Case, Error> {
    let names: Vec<_> = files.iter().map(|path| scan_name(path)).collect();
    let split: Vec<_> = names.iter().map(|name| split_channel(name)).collect();
    let Some(Some((case, number))) = split.first().copied() else {
        return Ok(Case::at(PathBuf::from(&names[0]), files.to_vec()));
    };
    let same = split.iter().all(|of| of.is_some_and(|(other, _)| other == case));
    let mut numbers: Vec<usize> = split.iter().flatten().map(|(_, number)| *number).collect();
    let in_order = numbers.iter().copied().eq(0..files.len());
    numbers.sort_unstable();
    if same && !in_order && numbers.into_iter().eq(0..files.len()) {
        let first = files[0].display();
        let sentence = format!("{first} comes first and is channel {number} by its name; give channel 0 first");
        return Err(Error::new(ErrorKind::Usage, sentence).about(&files[0]));
    }
    let label = if same && in_order { case.into() } else { PathBuf::from(&names[0]) };
    Ok(Case::at(label, files.to_vec()))
}
