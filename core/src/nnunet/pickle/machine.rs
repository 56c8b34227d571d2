//! The stack machine: one instruction after the other, from bytes to the arena.

use super::globals::{self, Global};
use super::{MAX_BYTES, MAX_DEPTH, MAX_LINE, MAX_OBJECTS, Node, NodeId, Pickle, PickleError};
use std::collections::HashMap;

/// Arena places of the values that occur thousands of times; they exist once.
const NONE: NodeId = NodeId(0);
const FALSE: NodeId = NodeId(1);
const TRUE: NodeId = NodeId(2);

/// The pickle at the start of `bytes`, and how many bytes it has.
pub(super) fn run(bytes: &[u8]) -> Result<(Pickle, usize), PickleError> {
    if bytes.len() > MAX_BYTES {
        return Err(PickleError::TooLarge { what: "bytes", limit: MAX_BYTES });
    }
    let mut machine = Machine {
        bytes,
        at: 0,
        start: 0,
        nodes: vec![Node::None, Node::Bool(false), Node::Bool(true)],
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        copied: 0,
    };
    let root = loop {
        if let Some(root) = machine.step()? {
            break root;
        }
    };
    Ok((Pickle { nodes: machine.nodes, root }, machine.at))
}

struct Machine<'a> {
    bytes: &'a [u8],
    /// The next byte to read.
    at: usize,
    /// Offset of the instruction being run, for errors.
    start: usize,
    nodes: Vec<Node>,
    stack: Vec<NodeId>,
    /// Stack heights at the open marks.
    marks: Vec<usize>,
    memo: HashMap<u32, NodeId>,
    /// Entries copied from lists into ordered dictionaries. One list in the memo can be copied by every five bytes.
    copied: usize,
}

impl<'a> Machine<'a> {
    /// Runs one instruction; gives the result at the end of the program.
    fn step(&mut self) -> Result<Option<NodeId>, PickleError> {
        self.start = self.at;
        let opcode = self.byte()?;
        match opcode {
            b'.' => return self.pop().map(Some),
            0x80 => {
                let protocol = self.byte()?;
                if protocol > 5 {
                    return Err(self.malformed("its protocol is newer than 5"));
                }
            }
            // A frame only announces how many bytes follow.
            0x95 => {
                self.u64_length()?;
            }

            b'N' => self.push(NONE)?,
            0x88 => self.push(TRUE)?,
            0x89 => self.push(FALSE)?,
            b'J' => {
                let value = i32::from_le_bytes(self.array()?);
                self.add(Node::Int(value.into()))?;
            }
            b'K' => {
                let value = self.byte()?;
                self.add(Node::Int(value.into()))?;
            }
            b'M' => {
                let value = u16::from_le_bytes(self.array()?);
                self.add(Node::Int(value.into()))?;
            }
            b'I' | b'L' => self.text_integer()?,
            0x8a => {
                let length = self.byte()? as usize;
                self.long(length)?;
            }
            0x8b => {
                let length = i32::from_le_bytes(self.array()?);
                let length = usize::try_from(length).map_err(|_| self.malformed("an integer of negative length"))?;
                self.long(length)?;
            }
            b'F' => {
                let value = self.line()?.parse().map_err(|_| self.malformed("an invalid float"))?;
                self.add(Node::Float(value))?;
            }
            b'G' => {
                let value = f64::from_be_bytes(self.array()?);
                self.add(Node::Float(value))?;
            }

            b'X' => {
                let length = self.u32_length()?;
                self.text(length)?;
            }
            0x8c => {
                let length = self.byte()? as usize;
                self.text(length)?;
            }
            0x8d => {
                let length = self.u64_length()?;
                self.text(length)?;
            }
            b'T' => {
                let length = self.u32_length()?;
                self.text(length)?;
            }
            b'U' => {
                let length = self.byte()? as usize;
                self.text(length)?;
            }
            b'S' => {
                let line = self.line()?;
                let inner = ["'", "\""]
                    .iter()
                    .find_map(|q| line.strip_prefix(q)?.strip_suffix(q))
                    .ok_or_else(|| self.malformed("a text without quotes"))?;
                let text = unescape(inner, true).ok_or_else(|| self.malformed("a text with a broken escape"))?;
                self.add(Node::Str(text.into()))?;
            }
            b'V' => {
                let line = self.line()?;
                let text = unescape(line, false).ok_or_else(|| self.malformed("a text with a broken escape"))?;
                self.add(Node::Str(text.into()))?;
            }
            b'C' => {
                let length = self.byte()? as usize;
                self.blob(length)?;
            }
            b'B' => {
                let length = self.u32_length()?;
                self.blob(length)?;
            }
            0x8e | 0x96 => {
                let length = self.u64_length()?;
                self.blob(length)?;
            }

            b')' => self.add(Node::Tuple(Vec::new()))?,
            b']' => self.add(Node::List(Vec::new()))?,
            b'}' => self.add(Node::Dict(Vec::new()))?,
            0x8f => self.add(Node::Set(Vec::new()))?,
            b't' => {
                let items = self.pop_mark()?;
                self.add(Node::Tuple(items))?;
            }
            b'l' => {
                let items = self.pop_mark()?;
                self.add(Node::List(items))?;
            }
            b'd' => {
                let items = self.pop_mark()?;
                let pairs = self.pairs(&items)?;
                self.add(Node::Dict(pairs))?;
            }
            0x91 => {
                let items = self.pop_mark()?;
                self.add(Node::Set(items))?;
            }
            0x85..=0x87 => {
                let count = (opcode - 0x84) as usize;
                let mut items = Vec::with_capacity(count);
                for _ in 0..count {
                    items.push(self.pop()?);
                }
                items.reverse();
                self.add(Node::Tuple(items))?;
            }
            b'a' => {
                let item = self.pop()?;
                self.extend(vec![item])?;
            }
            b'e' | 0x90 => {
                let items = self.pop_mark()?;
                self.extend(items)?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set(vec![(key, value)])?;
            }
            b'u' => {
                let items = self.pop_mark()?;
                let pairs = self.pairs(&items)?;
                self.set(pairs)?;
            }

            b'(' => {
                if self.marks.len() >= MAX_DEPTH {
                    return Err(PickleError::TooLarge { what: "open marks", limit: MAX_DEPTH });
                }
                self.marks.push(self.stack.len());
            }
            // A mark on top is popped like a value, as in Python.
            b'0' => {
                if self.marks.last() == Some(&self.stack.len()) {
                    self.marks.pop();
                } else {
                    self.pop()?;
                }
            }
            b'1' => {
                self.pop_mark()?;
            }
            b'2' => {
                let top = self.top()?;
                self.push(top)?;
            }
            b'p' | b'g' => {
                let key = self.line()?.parse().map_err(|_| self.malformed("a memo key that is no number"))?;
                self.memo(opcode == b'p', key)?;
            }
            b'q' | b'h' => {
                let key = self.byte()?.into();
                self.memo(opcode == b'q', key)?;
            }
            b'r' | b'j' => {
                let key = u32::from_le_bytes(self.array()?);
                self.memo(opcode == b'r', key)?;
            }
            0x94 => {
                let key = self.memo.len() as u32;
                self.memo(true, key)?;
            }

            b'c' => {
                let module = self.line()?;
                let name = self.line()?;
                let node = self.global(module, name)?;
                self.add(node)?;
            }
            0x93 => {
                let name = self.pop()?;
                let module = self.pop()?;
                let node = match (self.node(module), self.node(name)) {
                    (Node::Str(module), Node::Str(name)) => self.global(module, name)?,
                    _ => return Err(self.malformed("a global whose name is no text")),
                };
                self.add(node)?;
            }
            b'R' | 0x81 => {
                let arguments = self.pop()?;
                let callable = self.pop()?;
                self.call(callable, arguments)?;
            }
            0x92 => {
                let _keywords = self.pop()?;
                let arguments = self.pop()?;
                let callable = self.pop()?;
                self.call(callable, arguments)?;
            }
            b'i' => {
                let module = self.line()?;
                let name = self.line()?;
                let node = self.global(module, name)?;
                let items = self.pop_mark()?;
                let callable = self.keep(node)?;
                let arguments = self.keep(Node::Tuple(items))?;
                self.call(callable, arguments)?;
            }
            b'o' => {
                let mut items = self.pop_mark()?;
                if items.is_empty() {
                    return Err(self.malformed("an object without a class"));
                }
                let callable = items.remove(0);
                let arguments = self.keep(Node::Tuple(items))?;
                self.call(callable, arguments)?;
            }
            b'b' => {
                let state = self.pop()?;
                let object = self.top()?;
                self.set_state(object, state);
            }
            b'P' => {
                let line = self.line()?;
                let id = self.keep(Node::Str(line.into()))?;
                self.add(Node::Persistent(id))?;
            }
            b'Q' => {
                let id = self.pop()?;
                self.add(Node::Persistent(id))?;
            }
            // Among the rest: the extension registry (0x82..=0x84) and out-of-band buffers (0x97, 0x98), which need
            // things that lie outside the file.
            _ => {
                return Err(PickleError::UnknownOpcode { opcode, offset: self.start });
            }
        }
        Ok(None)
    }

    fn malformed(&self, problem: &'static str) -> PickleError {
        PickleError::Malformed { problem, offset: self.start }
    }

    fn truncated(&self) -> PickleError {
        PickleError::Truncated { offset: self.start }
    }

    // Bytes.

    fn byte(&mut self) -> Result<u8, PickleError> {
        Ok(self.take(1)?[0])
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], PickleError> {
        let end = self.at.checked_add(length).ok_or_else(|| self.truncated())?;
        let taken = self.bytes.get(self.at..end).ok_or_else(|| self.truncated())?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PickleError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u32_length(&mut self) -> Result<usize, PickleError> {
        let length = u32::from_le_bytes(self.array()?);
        usize::try_from(length).map_err(|_| self.truncated())
    }

    fn u64_length(&mut self) -> Result<usize, PickleError> {
        let length = u64::from_le_bytes(self.array()?);
        usize::try_from(length).map_err(|_| self.truncated())
    }

    fn line(&mut self) -> Result<&'a str, PickleError> {
        let rest = &self.bytes[self.at..];
        let window = &rest[..rest.len().min(MAX_LINE)];
        let length = window.iter().position(|b| *b == b'\n').ok_or_else(|| {
            if rest.len() > MAX_LINE {
                PickleError::TooLarge { what: "bytes in a line", limit: MAX_LINE }
            } else {
                self.truncated()
            }
        })?;
        self.at += length + 1;
        let line = window[..length].strip_suffix(b"\r").unwrap_or(&window[..length]);
        std::str::from_utf8(line).map_err(|_| self.malformed("a line that is no UTF-8"))
    }

    // Stack, memo and arena.

    fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    fn keep(&mut self, node: Node) -> Result<NodeId, PickleError> {
        if self.nodes.len() >= MAX_OBJECTS {
            return Err(PickleError::TooLarge { what: "objects", limit: MAX_OBJECTS });
        }
        self.nodes.push(node);
        Ok(NodeId((self.nodes.len() - 1) as u32))
    }

    fn add(&mut self, node: Node) -> Result<(), PickleError> {
        let id = self.keep(node)?;
        self.push(id)
    }

    fn push(&mut self, id: NodeId) -> Result<(), PickleError> {
        if self.stack.len() >= MAX_OBJECTS {
            return Err(PickleError::TooLarge { what: "values on its stack", limit: MAX_OBJECTS });
        }
        self.stack.push(id);
        Ok(())
    }

    /// Lowest stack height an instruction may reach without crossing a mark.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Result<NodeId, PickleError> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn top(&self) -> Result<NodeId, PickleError> {
        match self.stack.last() {
            Some(id) if self.stack.len() > self.floor() => Ok(*id),
            _ => Err(self.malformed("an instruction finds the stack empty")),
        }
    }

    fn pop_mark(&mut self) -> Result<Vec<NodeId>, PickleError> {
        let height = self.marks.pop().ok_or_else(|| self.malformed("an instruction finds no mark"))?;
        Ok(self.stack.split_off(height))
    }

    fn memo(&mut self, put: bool, key: u32) -> Result<(), PickleError> {
        if !put {
            let id = *self.memo.get(&key).ok_or_else(|| self.malformed("a memo entry that does not exist"))?;
            return self.push(id);
        }
        if self.memo.len() >= MAX_OBJECTS {
            return Err(PickleError::TooLarge { what: "memo entries", limit: MAX_OBJECTS });
        }
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    // Values.

    fn text(&mut self, length: usize) -> Result<(), PickleError> {
        // Python allows lone surrogates here. None of the texts we look at has one, so they are replaced.
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.add(Node::Str(text.into()))
    }

    fn blob(&mut self, length: usize) -> Result<(), PickleError> {
        let bytes = self.take(length)?.into();
        self.add(Node::Bytes(bytes))
    }

    /// A little-endian two's complement integer.
    fn long(&mut self, length: usize) -> Result<(), PickleError> {
        let bytes = self.take(length)?;
        let filler = if bytes.last().is_some_and(|b| b & 0x80 != 0) { 0xff } else { 0 };
        let mut low = [filler; 8];
        for (to, from) in low.iter_mut().zip(bytes) {
            *to = *from;
        }
        let value = i64::from_le_bytes(low);
        let sign_agrees = (value < 0) == (filler == 0xff);
        let fits = sign_agrees && bytes.iter().skip(8).all(|b| *b == filler);
        self.add(if fits { Node::Int(value) } else { Node::BigInt })
    }

    fn text_integer(&mut self) -> Result<(), PickleError> {
        let line = self.line()?;
        match line {
            "00" => return self.push(FALSE),
            "01" => return self.push(TRUE),
            _ => {}
        }
        let digits = line.strip_suffix('L').unwrap_or(line);
        let unsigned = digits.strip_prefix('-').unwrap_or(digits);
        if unsigned.is_empty() || !unsigned.bytes().all(|b| b.is_ascii_digit()) {
            return Err(self.malformed("an invalid integer"));
        }
        self.add(digits.parse().map_or(Node::BigInt, Node::Int))
    }

    fn pairs(&self, items: &[NodeId]) -> Result<Vec<(NodeId, NodeId)>, PickleError> {
        if !items.len().is_multiple_of(2) {
            return Err(self.malformed("a key without a value"));
        }
        Ok(items.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
    }

    /// Adds items to the container on top. Containers of unknown classes stay opaque.
    fn extend(&mut self, mut new: Vec<NodeId>) -> Result<(), PickleError> {
        let top = self.top()?;
        match &mut self.nodes[top.0 as usize] {
            Node::List(items) | Node::Set(items) => items.append(&mut new),
            Node::Opaque(_) => {}
            _ => return Err(self.malformed("items are added to something that holds none")),
        }
        Ok(())
    }

    fn set(&mut self, mut new: Vec<(NodeId, NodeId)>) -> Result<(), PickleError> {
        let top = self.top()?;
        match &mut self.nodes[top.0 as usize] {
            Node::Dict(pairs) => pairs.append(&mut new),
            Node::Opaque(_) => {}
            _ => return Err(self.malformed("entries are set in something that is no dictionary")),
        }
        Ok(())
    }

    /// State matters to numpy's objects alone: attributes of tensors and dictionaries carry no weights.
    fn set_state(&mut self, object: NodeId, state: NodeId) {
        let big_endian = || {
            let Node::Tuple(items) = self.node(state) else { return false };
            items.get(1).is_some_and(|order| matches!(self.node(*order), Node::Str(order) if **order == *">"))
        };
        let node = match self.node(object) {
            Node::Call(Global::NumpyArray, _) => Node::Call(Global::NumpyArray, state),
            Node::Call(Global::NumpyType, _) if big_endian() => Node::Opaque("numpy.dtype".into()),
            _ => return,
        };
        self.nodes[object.0 as usize] = node;
    }

    fn global(&self, module: &str, name: &str) -> Result<Node, PickleError> {
        if globals::is_forbidden(module, name) {
            return Err(PickleError::Forbidden { name: globals::dotted(module, name) });
        }
        Ok(match globals::known(module, name) {
            Some(global) => Node::Global(global),
            None => Node::Opaque(globals::dotted(module, name).into()),
        })
    }

    fn call(&mut self, callable: NodeId, arguments: NodeId) -> Result<(), PickleError> {
        let Node::Tuple(items) = self.node(arguments) else {
            return Err(self.malformed("the arguments of a call are no tuple"));
        };
        match self.node(callable) {
            Node::Global(Global::OrderedDict) => {
                // Python 2 passed the entries as one list of pairs; Python 3 sets them afterwards.
                let mut entries = Vec::new();
                if let Some(Node::List(list)) = items.first().map(|id| self.node(*id)) {
                    let copied = self.copied.saturating_add(list.len());
                    if copied > MAX_OBJECTS {
                        return Err(PickleError::TooLarge { what: "dictionary entries", limit: MAX_OBJECTS });
                    }
                    for entry in list {
                        match self.node(*entry) {
                            Node::Tuple(pair) | Node::List(pair) if pair.len() == 2 => entries.push((pair[0], pair[1])),
                            _ => {
                                return Err(self.malformed("an ordered dictionary of something else than pairs"));
                            }
                        }
                    }
                }
                self.copied += entries.len();
                self.add(Node::Dict(entries))
            }
            Node::Global(global) => {
                let global = *global;
                self.add(Node::Call(global, arguments))
            }
            Node::Opaque(_) => self.push(callable),
            _ => Err(self.malformed("a value is called that is not a class or function")),
        }
    }
}

/// Python's escapes: all of them in a byte text, `\uXXXX` and `\UXXXXXXXX` alone in a raw one.
fn unescape(text: &str, all: bool) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        let hex = |rest: &mut std::str::Chars<'_>, digits: usize| -> Option<char> {
            let mut code = 0;
            for _ in 0..digits {
                code = code * 16 + rest.next()?.to_digit(16)?;
            }
            Some(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER))
        };
        match rest.next() {
            Some('u') => out.push(hex(&mut rest, 4)?),
            Some('U') => out.push(hex(&mut rest, 8)?),
            Some('x') if all => out.push(hex(&mut rest, 2)?),
            Some('n') if all => out.push('\n'),
            Some('r') if all => out.push('\r'),
            Some('t') if all => out.push('\t'),
            Some(quoted @ ('\\' | '\'' | '"')) if all => out.push(quoted),
            Some(other) => {
                out.push('\\');
                out.push(other);
            }
            None if all => return None,
            None => out.push('\\'),
        }
    }
    Some(out)
}
