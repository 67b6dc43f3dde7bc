"""Fine-tune a BiT on a folder of your own images, and ask it about one of them.

    python examples/finetune_folder.py path/to/folder [WEIGHTS]

The folder holds a sub-folder of images for each class, directly or inside `train` and
`test`. Without an argument it is the bundled doodles. WEIGHTS is a published weight
file; by default it is the small network that comes with the package.
"""

import sys

import tensorflow as tf

import bit_keras


def main(folder="doodles", weights=None, steps=None):
    source = bit_keras.open_source(folder)
    height, width = source.image_size
    num_examples = source.train.num_examples
    recipe = bit_keras.HyperRule.light(height, width, num_examples).scaled(steps=steps)
    print(recipe.describe())

    if weights:
        model = bit_keras.BiTClassifier.from_checkpoint(weights, source.num_classes)
    else:
        model = bit_keras.BiTClassifier.from_preset("bit_t_r26x05", source.num_classes)
    result = bit_keras.finetune(model, source, recipe)
    print(f"{100 * result.evaluation.top1:.1f} % of the test images are right.")

    # The model is a Keras model, and remembers the names of its classes.
    images, labels, _ = next(iter(bit_keras.load_dataset(source, recipe)[1]))
    shares = tf.nn.softmax(model(images[:1]))[0]
    best = int(tf.argmax(shares))
    truth = source.class_names[int(tf.argmax(labels[0]))]
    print(f"A picture of `{truth}`: {model.class_names[best]} ({shares[best]:.0%})")
    return result


if __name__ == "__main__":
    main(*sys.argv[1:3])
