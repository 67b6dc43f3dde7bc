"""A training loop of your own under a `tf.distribute` strategy.

    python examples/custom_loop.py

What Keras's `fit` does is spelled out: batches are shared among the replicas, each
computes its gradients, compiled with XLA, and the optimizer adds them up.
"""

import itertools

import keras
import tensorflow as tf

import bit_keras
from bit_keras.data.load import train_batches
from bit_keras.training.strategies import share_batches


def main(strategy=None, steps=20):
    strategy = strategy or bit_keras.make_strategy("mirrored")
    source = bit_keras.open_source("doodles")
    recipe = bit_keras.HyperRule.light(
        28, 28, source.train.num_examples, from_scratch=True
    ).scaled(steps=steps)
    keras.utils.set_random_seed(0)
    with strategy.scope():
        backbone = bit_keras.BiTBackbone(depth=26, width=0.5)
        model = bit_keras.BiTClassifier(backbone, source.num_classes)
        optimizer = bit_keras.MomentumSGD(recipe.learning_rate)
        optimizer.build(model.trainable_variables)

    @tf.function(jit_compile=True)
    def loss_and_gradients(images, labels):
        with tf.GradientTape() as tape:
            losses = keras.losses.categorical_crossentropy(
                labels, model(images, training=True), from_logits=True
            )
            # Its share of the mean over the global batch.
            loss = tf.reduce_sum(losses) / recipe.batch_size
        variables = [variable.value for variable in model.trainable_variables]
        return loss, tape.gradient(loss, variables)

    def step_of_replica(images, labels):
        loss, gradients = loss_and_gradients(images, labels)
        optimizer.apply(gradients, model.trainable_variables)
        return loss

    @tf.function
    def step(batch):
        losses = strategy.run(step_of_replica, args=batch)
        return strategy.reduce(tf.distribute.ReduceOp.SUM, losses, axis=None)

    def batches(part):
        return train_batches(source, recipe, part=part)

    losses = []
    for batch in itertools.islice(share_batches(strategy, batches), steps):
        losses.append(float(step(batch)))
        if len(losses) % 10 == 0:
            print(f"step {len(losses)}: loss {losses[-1]:.3f}")
    return model, losses


if __name__ == "__main__":
    main()
