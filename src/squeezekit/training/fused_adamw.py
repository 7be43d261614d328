"""AdamW whose update is one TensorFlow kernel a variable.

Keras composes the update of some twenty small operations. On AlexNet they read and write hundreds of megabytes each,
a quarter of a training step; on SqueezeNet's many small variables they take long to trace.

Paper: Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019, algorithm 2.
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

__all__ = ["FusedAdamW"]


@keras.saving.register_keras_serializable(package="squeezekit")
class FusedAdamW(keras.optimizers.AdamW):
    """`keras.optimizers.AdamW` on TensorFlow, equal up to rounding and with the same state; without `amsgrad`.

    Example:
        >>> weight = keras.Variable([1.0])
        >>> optimizer = FusedAdamW(0.1, weight_decay=0.0)
        >>> optimizer.apply([keras.ops.convert_to_tensor([3.0])], [weight])
        >>> round(float(weight[0]), 3)
        0.9
    """

    def update_step(self, gradient: Any, variable: tf.Variable, learning_rate: Any) -> None:
        """One step of Adam on a variable and its two moments."""
        index = self._get_variable_index(variable)
        step = tf.cast(self.iterations.value + 1, variable.dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=tf.pow(tf.cast(self.beta_1, variable.dtype), step),
            beta2_power=tf.pow(tf.cast(self.beta_2, variable.dtype), step),
            lr=tf.cast(learning_rate, variable.dtype),
            beta1=tf.cast(self.beta_1, variable.dtype),
            beta2=tf.cast(self.beta_2, variable.dtype),
            epsilon=tf.cast(self.epsilon, variable.dtype),
            grad=tf.cast(tf.convert_to_tensor(gradient), variable.dtype),
        )

    def _apply_weight_decay(self, variables: Sequence[keras.Variable]) -> None:
        """Keras's, with the learning rate's schedule computed once instead of once a variable."""
        share = self.learning_rate * self.weight_decay
        for variable in variables:
            if self._use_weight_decay(variable):
                variable.value.assign_sub(variable.value * tf.cast(share, variable.value.dtype))
