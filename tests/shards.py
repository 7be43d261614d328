"""Writers of shards that several tests share."""

import io
import tarfile

import tensorflow as tf
from PIL import Image


def png(picture):
    written = io.BytesIO()
    Image.fromarray(picture).save(written, "PNG")
    return written.getvalue()


def write_tar(path, members):
    """Members in order: (name, bytes), or a ready TarInfo."""
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(data) if info.isreg() else 0
            archive.addfile(info, io.BytesIO(data))


def example(image, label):
    value = (
        {"int64_list": tf.train.Int64List(value=[label])}
        if isinstance(label, int)
        else {"bytes_list": tf.train.BytesList(value=[label])}
    )
    features = {
        "image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image])),
        "image/class/label": tf.train.Feature(**value),
        "image/height": tf.train.Feature(int64_list=tf.train.Int64List(value=[12])),
        "image/colour": tf.train.Feature(float_list=tf.train.FloatList(value=[0.5, 1.5])),
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def write_records(path, rows):
    """Rows in order: (image file, label)."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for image, label in rows:
            writer.write(example(image, label))
