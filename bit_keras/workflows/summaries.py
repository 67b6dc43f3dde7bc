"""What a report says of its subjects."""


def describe_model(model):
    """Returns what a report says about a model."""
    return {
        "architecture": model.backbone.architecture.name,
        "parameters": model.count_params(),
        "compute dtype": model.backbone.compute_dtype,
    }


def describe_source(source):
    """Returns what a report says about a set of images."""
    training = {"training images": source.train.num_examples} if source.train else {}
    return {
        "name": source.name,
        "classes": source.num_classes,
        **training,
        "test images": source.test.num_examples,
        "usual height and width": list(source.image_size),
    }
