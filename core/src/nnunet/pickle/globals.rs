//! Which globals a pickle may name: the known ones, and those that make it hostile.

use super::DType;

/// A global whose meaning a checkpoint needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Global {
    /// `collections.OrderedDict`.
    OrderedDict,
    /// `torch._utils._rebuild_tensor_v2`.
    RebuildTensor,
    /// `torch._utils._rebuild_parameter`.
    RebuildParameter,
    /// A class like `torch.FloatStorage`.
    Storage(DType),
    /// `numpy.dtype`.
    NumpyType,
    /// `numpy.core.multiarray.scalar`: a number type and the number's bytes.
    NumpyScalar,
    /// `numpy.core.multiarray._reconstruct`. The arguments of its call are the array's state: a version, the shape, the
    /// number type, whether axes are reversed, and the bytes.
    NumpyArray,
    /// `_codecs.encode`: how protocols before 3 hold bytes.
    Encode,
}

/// Roots of dotted names that no checkpoint has reason to name: processes, files, network, code and reflection.
const FORBIDDEN: &[&str] = &[
    "_io",
    "_pickle",
    "_posixsubprocess",
    "_thread",
    "asyncio",
    "bdb",
    "code",
    "codeop",
    "commands",
    "concurrent",
    "ctypes",
    "dill",
    "cloudpickle",
    "distutils",
    "doctest",
    "ftplib",
    "gc",
    "http",
    "httplib",
    "imp",
    "importlib",
    "inspect",
    "io",
    "joblib",
    "linecache",
    "marshal",
    "multiprocessing",
    "nt",
    "numpy.distutils",
    "numpy.f2py",
    "numpy.testing",
    "operator",
    "os",
    "pdb",
    "pickle",
    "pip",
    "pkgutil",
    "platform",
    "popen2",
    "posix",
    "profile",
    "pty",
    "pydoc",
    "requests",
    "runpy",
    "setuptools",
    "shelve",
    "shutil",
    "signal",
    "site",
    "smtplib",
    "socket",
    "ssl",
    "subprocess",
    "sys",
    "tempfile",
    "threading",
    "timeit",
    "torch.compile",
    "torch.hub",
    "torch.jit",
    "torch.load",
    "torch.serialization.load",
    "torch.utils.cpp_extension",
    "trace",
    "types",
    "urllib",
    "urllib2",
    "webbrowser",
    "xmlrpc",
    "zipimport",
];

/// The built-ins that only hold data. All others can run code, reach attributes or touch files.
const HARMLESS_BUILTINS: &[&str] = &[
    "bool",
    "bytearray",
    "bytes",
    "complex",
    "dict",
    "float",
    "frozenset",
    "int",
    "list",
    "long",
    "object",
    "range",
    "set",
    "slice",
    "str",
    "tuple",
    "unicode",
    "xrange",
];

/// True if naming `module.name` marks a file as hostile.
pub(super) fn is_forbidden(module: &str, name: &str) -> bool {
    // Both halves can hold dots (protocol 4), so the check is on the whole dotted name.
    let full = dotted(module, name);
    for builtins in ["builtins.", "__builtin__.", "__builtins__."] {
        if let Some(rest) = full.strip_prefix(builtins) {
            return !HARMLESS_BUILTINS.contains(&rest);
        }
    }
    // Reflection reaches everything from anywhere: `torch.nn.__globals__`, `x.__class__.__subclasses__`, `torch.os`.
    let reflective = |part: &str| {
        part.starts_with("__") && part.ends_with("__") && part != "__main__"
            || matches!(part, "os" | "sys" | "subprocess")
    };
    FORBIDDEN.iter().any(|root| full.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
        || full.split('.').any(reflective)
}

/// The known global of this name, if it is one.
pub(super) fn known(module: &str, name: &str) -> Option<Global> {
    Some(match (module, name) {
        ("collections", "OrderedDict") => Global::OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2") => Global::RebuildTensor,
        ("torch._utils", "_rebuild_parameter") => Global::RebuildParameter,
        ("torch" | "torch.storage" | "torch.cuda", class) => Global::Storage(DType::from_storage_class(class)?),
        ("numpy", "dtype") => Global::NumpyType,
        ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar") => Global::NumpyScalar,
        ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct") => Global::NumpyArray,
        ("_codecs", "encode") => Global::Encode,
        _ => return None,
    })
}

pub(super) fn dotted(module: &str, name: &str) -> String {
    format!("{module}.{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_are_told_from_honest_ones() {
        for (module, name) in [
            ("os", "system"),
            ("posix", "system"),
            ("nt", "system"),
            ("builtins", "eval"),
            ("__builtin__", "getattr"),
            ("builtins", "__import__"),
            ("subprocess", "Popen"),
            ("sys", "modules"),
            ("runpy", "_run_code"),
            ("shutil", "rmtree"),
            ("socket", "socket"),
            ("importlib", "import_module"),
            ("torch", "hub.load"),
            ("torch.hub", "load"),
            ("torch.os", "system"),
            ("collections", "OrderedDict.__init__.__globals__"),
            ("numpy.testing._private.utils", "runstring"),
            ("os.path", "os.system"),
        ] {
            assert!(is_forbidden(module, name), "{module}.{name}");
        }
        for (module, name) in [
            ("collections", "OrderedDict"),
            ("torch._utils", "_rebuild_tensor_v2"),
            ("torch", "device"),
            ("torch", "FloatStorage"),
            ("_codecs", "encode"),
            ("numpy._core.multiarray", "scalar"),
            ("numpy", "dtype"),
            ("builtins", "set"),
            ("__main__", "MyConfig"),
            ("pathlib", "PosixPath"),
            ("osprey", "Settings"),
        ] {
            assert!(!is_forbidden(module, name), "{module}.{name}");
        }
    }
}
