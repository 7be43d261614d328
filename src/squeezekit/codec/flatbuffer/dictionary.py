"""Common contents of `.tflite` files: deflate's preset dictionary for small files. Part of the file format.

Vtables as LiteRT's converter and flatbuffers' own builders write them, the metadata that squeezekit and other
tools attach, names of layers as Keras and the converter choose them (every digit 0, see `digits`). A word that is
missing costs some bytes in a file that has it; nothing else depends on this list.
"""

import base64

__all__ = ["DICTIONARY"]

# Bytes of the table, then each field's offset.
_VTABLES = (
    (32, 28, 24, 20, 16, 12, 0, 8, 4), (16, 12, 8, 4), (12, 8, 4), (8, 4),
    (4,), (24, 20, 16, 12, 8, 4), (24, 20, 16, 12, 11, 4), (26, 20, 16, 12, 11, 4),
    (8, 0, 0, 0, 0, 4), (8, 7), (12, 0, 8, 4), (20, 0, 16, 12, 11, 4),
    (16, 0, 12, 8, 7), (16, 0, 12, 8, 4), (20, 0, 16, 12, 8, 7), (28, 24, 0, 20, 16, 12, 0, 0, 8, 7),
    (28, 24, 23, 16, 12, 8, 0, 0, 0, 7), (24, 20, 0, 16, 12, 8, 0, 0, 0, 7), (12, 11, 0, 0, 4),
    (32, 28, 27, 20, 16, 12, 0, 0, 8, 7),
    (12, 0, 0, 8, 4), (16, 0, 0, 12, 8, 0, 0, 4), (30, 24, 23, 16, 12, 8, 0, 0, 0, 7), (16, 15, 0, 8, 4),
    (14, 13, 0, 8, 4), (8, 0, 0, 4), (22, 0, 16, 12, 11, 4), (16, 15, 8, 4),
    (24, 23, 16, 12, 8, 4), (20, 19, 12, 8, 7), (20, 19, 12, 8, 4),
)  # fmt: skip

_NAMES = (
    b"MobilenetV0/expanded_conv_0/project/BatchNorm/FusedBatchNormV0;MobilenetV0/Conv_0/weights"
    b"model/conv0d_0/Conv0D;model/batch_normalization_0/FusedBatchNormV0/ReadVariableOp/resource;"
    b"functional_0_0/sequential_0/dense_0_0/MatMul;functional_0_0/dense_0_0/BiasAdd/ReadVariableOp;"
    b"separable_conv0d_0/separable_conv0d;max_pooling0d_0_0/MaxPool0d;global_average_pooling0d_0_0/Mean;"
    b"_bn_0/batchnorm/add_0;_bn_0/batchnorm/mul_0;_bn_0/batchnorm/sub;_pad_0/Pad;re_lu_0_0/Relu0;"
    b"_squeeze_excite_;expanded_conv_0_expand_0/convolution;block0_project_swish/mul;_depthwise_0/depthwise;"
    b"flatten_0/Reshape/shape\0strided_slice/stack_0\0dropout\0Softmax\0hard_sigmoid/mul\0"
    b"_concat_0/concat\0pool0_0/MaxPool0d\0Identity\0PartitionedCall:0\0StatefulPartitionedCall_0:0\0"
    b"arith.constant0\0arith.constant\0tfl.quantize\0tfl.pseudo_qconst0\0mean_0/Mean/reduction_indices\0"
    b"/BiasAdd\0_relu_0/Relu;conv0_0/BiasAdd;conv0_0/convolution;conv0_0/Squeeze0\0"
    b"main\0MLIR Converted.\0CONVERSION_METADATA\0min_runtime_version\0TFLITE_METADATA\0"
    b"input_0\0output_0\0keras_tensor\0serving_default_keras_tensor:0\0serving_default_input_0:0\0"
    b"serving_default\0probabilities\0image\0serving_default_image:0\0PartitionedCall:00\0"
)

# The converter's metadata about itself.
_CONVERSION = base64.b85decode(
    "3;+NC2mlTM2mk~C2mk;85C8xGC;$Ke000I62mk~C1^@s61ONa40RR91>jMA)3;-"
    "Aa6aWwa3;+ZG3;+NC00000000000{{R30ssI21ONa41^@s6GA=SPE-(N9"
)

# An image classifier's TFLite Metadata.
_METADATA = base64.b85decode(
    "8~^|SO)xMq6aW|i6aWwa000aC000002mk~C6aWAK6aWAK8~^|SAOHXWBme*aH~;_u1poj5F)lDJFaQ7m0RR91KmY&$0RR91U;qFB"
    "5C8xGNo`?gWgug0VRLh7W@%+|000004gdfEb8&TLWqM_9WprOLUoijx000I62mk~C1^@s61ONa44*&oFb8&TLWqM_6X>=}Xb8l_{"
    "3;+xO000002mk~C3;+NC2mk;83;+NC0RR91AOHXW0RR91*Z=?k000sI6aWwa3;+NC2mk;8000C45&!@I5C8xG6aWAKBme*aKmY&$"
    "0RR91Q~&?~K>z>$000012mk;81ONm81ONa482|tPaB^>AVPa`)X>@rYZ)PB6VPj|@Y++($YybcN3jhEBaB^>AVPa`)X>@r2000UA"
    "5C9AS2ml8F3IG5A000022mk;8C;$Ke9RL6TZ*FBEY++($Y#?E7Aa8YaaCLMnAZczOZ*pX1asU7T3IG5AY++($Y;!Jjcys^&000gE"
    "6aWwa3;+NC2mk~C4gdfE5C8xGQ~&?~YybcNm;e9(0RR913;+NC2mlNK2LK2F2mk;8000013;+NC2mlNK2mk~C2mk;82mk;83;+NC"
    "0RR91004kL0RR91000002mlTM2LK2F2mk;8000023;+NC000I62ml8F1^@s600001DgXcgQb$4{aA{+7b#i4pAai43Y-"
    "w(1AZc?TX>N0AWMv?9Xk{R7WpsCMa%%tp1poj5X>DO=WdHyG"
)

_OTHER_METADATA = (
    b"ImageClassifier\0Identify the most prominent object in the image from a known set of categories."
    b"\0Input image to be classified.\0Probabilities of the labels respectively.\0score\0"
    b"1.5.0\0\0\0\0\0\0\0\0\0\0\0"
    b"1.14.0\0\0\0\0\0\0\0\0\0\0"
)

_LOCAL = b"PK\3\4\x14\0\0\0\0\0\0\0!\0"
_CENTRAL = b"PK\1\2\x14\3\x14\0\0\0\0\0\0\0!\0"
_ARCHIVE = (
    b"labelmap.txt" + _LOCAL + b"\0\0\n\0\0\0labels.txt" + _LOCAL + b"\1\0\0\x0f\0\0\0squeezekit.json"
    b'{"preprocess":{"height":224,"width":96,"resize_height":110,"resize_width":110,"fit":"squash"},'
    b'"provenance":{"squeezekit":"0.1.0","model":"squeezenet_1_1","recipe":"prune(0.8) | share(bits=5) | '
    b'quantize(bits=8)","seed":0,"data":"'
    b'"}}'
    + _CENTRAL
    + b"\0\0\n\0\0\0\0\0\0\0\0\0\0\0\xa4\1\0labels.txt"
    + _CENTRAL
    + b"\1\0\0\x0f\0\0\0\0\0\0\0\0\0\0\0\xa4\1squeezekit.json"
    b"PK\5\6\0\0\0\0\2\0\2\0u\0\0\0"
)

DICTIONARY = b"".join(
    (
        _OTHER_METADATA, _CONVERSION, _METADATA, _ARCHIVE,
        b"".join(bytes((len(entries), *entries)) for entries in _VTABLES), _NAMES,
    )
)  # fmt: skip
"""Text that is likely to occur, the likeliest last."""
