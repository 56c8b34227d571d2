//! A reader of pickles that builds plain data and never runs anything.
//!
//! A pickle is a program for a small stack machine, and Python's own machine calls whatever the file names. This one
//! has no calls at all: it fills an arena of inert nodes. The few globals that a checkpoint's meaning needs are known
//! ([`Global`]); every other one becomes an opaque leaf that keeps its name, and "calling" an opaque leaf gives the
//! leaf back. A file that names something only an attack would name (`os.system`, `builtins.eval` ...) is refused:
//! nothing would happen here, but the same file run by Python would be harmful, and its weights deserve no trust.
//!
//! Values refer to each other by index, so shared and cyclic values cost nothing and no code recurses over them.
//! Bytes, objects, stack and open marks are capped, and every length is checked against the bytes that are there.

mod globals;
mod machine;
mod numbers;

pub use globals::Global;

use super::tensor::DType;
use thiserror::Error;

/// Most bytes a pickle may have. A thousand-epoch checkpoint of a hundred classes has about 10 MB of logs.
pub const MAX_BYTES: usize = 64 << 20;
/// Most objects a pickle may make, and most entries of its stack and of its memo.
pub const MAX_OBJECTS: usize = 8 << 20;
/// Most marks open at the same time; Python's own writer stops near 1000 levels of nesting.
pub const MAX_DEPTH: usize = 10_000;
/// Longest line of the text opcodes (protocol 0).
pub const MAX_LINE: usize = 1 << 20;

/// A value's place in the arena of its [`Pickle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NodeId(u32);

/// One value.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Node {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An integer of at most 64 bits.
    Int(i64),
    /// An integer of more than 64 bits; its value is dropped.
    BigInt,
    /// A float.
    Float(f64),
    /// A text. Lone surrogates are replaced.
    Str(Box<str>),
    /// Bytes.
    Bytes(Box<[u8]>),
    /// A tuple.
    Tuple(Vec<NodeId>),
    /// A list.
    List(Vec<NodeId>),
    /// A set or frozen set.
    Set(Vec<NodeId>),
    /// A dictionary, plain or ordered: pairs in the order of their insertion, repeated keys included.
    Dict(Vec<(NodeId, NodeId)>),
    /// A known global.
    Global(Global),
    /// A known global called with a tuple of arguments.
    Call(Global, NodeId),
    /// A persistent id: a value that lies outside the pickle.
    Persistent(NodeId),
    /// Anything made by a global that is not known, under that global's dotted name.
    Opaque(Box<str>),
}

impl Node {
    /// What the value is, for error sentences.
    pub fn kind(&self) -> &'static str {
        match self {
            Node::None => "None",
            Node::Bool(_) => "a truth value",
            Node::Int(_) | Node::BigInt => "an integer",
            Node::Float(_) => "a float",
            Node::Str(_) => "a text",
            Node::Bytes(_) => "bytes",
            Node::Tuple(_) => "a tuple",
            Node::List(_) => "a list",
            Node::Set(_) => "a set",
            Node::Dict(_) => "a dictionary",
            Node::Global(_) => "a class or function",
            Node::Call(..) => "a rebuilt object",
            Node::Persistent(_) => "a persistent id",
            Node::Opaque(_) => "an object of an unknown class",
        }
    }
}

/// A pickle's values.
#[derive(Clone, Debug)]
pub struct Pickle {
    nodes: Vec<Node>,
    root: NodeId,
}

impl Pickle {
    /// Reads a pickle of protocol 0 to 5. Bytes after its end are ignored, as Python does.
    ///
    /// # Errors
    /// A malformed, truncated or over-large pickle, and one that names a forbidden global.
    pub fn parse(bytes: &[u8]) -> Result<Pickle, PickleError> {
        Ok(machine::run(bytes)?.0)
    }

    /// As [`Pickle::parse`], with the number of bytes that the pickle has: another one may follow.
    ///
    /// # Errors
    /// As [`Pickle::parse`].
    pub fn parse_first(bytes: &[u8]) -> Result<(Pickle, usize), PickleError> {
        machine::run(bytes)
    }

    /// The value the whole pickle stands for.
    pub fn root(&self) -> NodeId {
        self.root
    }

    /// The value at `id`. Ids of another pickle give `None`'s node where they are out of range.
    pub fn get(&self, id: NodeId) -> &Node {
        self.nodes.get(id.0 as usize).unwrap_or(&Node::None)
    }

    /// The text at `id`.
    pub fn text(&self, id: NodeId) -> Option<&str> {
        match self.get(id) {
            Node::Str(s) => Some(s),
            _ => None,
        }
    }

    /// All values, whatever refers to them.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter()
    }

    /// The items of the tuple or list at `id`.
    pub fn items(&self, id: NodeId) -> Option<&[NodeId]> {
        match self.get(id) {
            Node::Tuple(items) | Node::List(items) => Some(items),
            _ => None,
        }
    }

    /// The value of `key` in the dictionary at `id`; of repeated keys the last, as in Python.
    pub fn entry(&self, id: NodeId, key: &str) -> Option<NodeId> {
        match self.get(id) {
            Node::Dict(pairs) => pairs.iter().rev().find(|(k, _)| self.text(*k) == Some(key)).map(|(_, v)| *v),
            _ => None,
        }
    }
}

/// Why a pickle cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PickleError {
    /// The bytes end inside an instruction, or before the end of the program.
    #[error("the pickle ends inside the instruction at byte {offset}")]
    Truncated {
        /// Byte offset of the instruction.
        offset: usize,
    },
    /// An instruction that does not exist, or one that needs data from outside the file.
    #[error("the pickle has an unknown instruction 0x{opcode:02x} at byte {offset}")]
    UnknownOpcode {
        /// The instruction's byte.
        opcode: u8,
        /// Its byte offset.
        offset: usize,
    },
    /// An instruction that does not fit what lies on the stack.
    #[error("the pickle is malformed at byte {offset}: {problem}")]
    Malformed {
        /// What is wrong.
        problem: &'static str,
        /// Byte offset of the instruction.
        offset: usize,
    },
    /// More than a checkpoint can reasonably need.
    #[error("the pickle has too many {what}: the limit is {limit}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// The most there may be.
        limit: usize,
    },
    /// A global that only harmful files name.
    #[error(
        "the pickle names `{name}`, which only harmful files do; no code was run; do not open the file \
         with Python"
    )]
    Forbidden {
        /// Its dotted name.
        name: String,
    },
}
