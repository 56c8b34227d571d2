//! The numbers of a file's tensors.

use tract_onnx::pb::TensorProto;
use tract_onnx::pb::tensor_proto::DataType;

/// The type of a tensor's numbers.
pub(super) fn element_type(t: &TensorProto) -> DataType {
    DataType::try_from(t.data_type).unwrap_or(DataType::Undefined)
}

/// Bytes of one of a tensor's numbers; none where they are of no supported type.
pub(super) fn number_bytes(t: &TensorProto) -> Option<u64> {
    Some(match element_type(t) {
        DataType::Double | DataType::Int64 | DataType::Uint64 => 8,
        DataType::Float | DataType::Uint32 | DataType::Int32 => 4,
        DataType::Float16 | DataType::Bfloat16 | DataType::Int16 | DataType::Uint16 => 2,
        DataType::Int8 | DataType::Uint8 | DataType::Bool => 1,
        _ => return None,
    })
}
