"""The sets of VTAB-1k's tasks: opened, and looked for."""

from bit_keras.data.labels import check_labels
from bit_keras.data.sources import Source
from bit_keras.data.splits import usual_size
from bit_keras.data.tfds import stream_split
from bit_keras.data.tfds_folders import missing_files, open_set, prepared_folder
from bit_keras.errors import InputError
from bit_keras.evaluation.vtab import TASKS, choose_tasks

PARTS = ("train800", "val200", "test")


def open_task(task, data_dir=None, manual_dir=None, *, train="train1000", test="test"):
    """Opens a task as a `Source`.

    Args:
        task: A `Task`, or its name.
        data_dir: Folder where TFDS keeps its sets; the task's is downloaded and
            prepared there if it is in none of the versions that will do.
        manual_dir: Folder with what TFDS cannot download by itself; by default
            `downloads/manual` in `data_dir`.
        train: Which part to train on: `"train1000"` or, in a search, `"train800"`.
        test: Which part to test on: `"test"` or, in a search, `"val200"`.

    Returns:
        A `Source` whose records are in the order of the files.

    Raises:
        InputError: If the set has other parts than VTAB-1k is made of, or has to be
            downloaded by hand.
        RunError: If TFDS cannot download or prepare the set.

    Example:

    >>> open_task("clevr-count", "~/tensorflow_datasets").num_classes
    8
    """
    if isinstance(task, str):
        [task] = choose_tasks([task])
    data = task.data
    builder = open_set(data.name, data.versions, data_dir, manual_dir)
    for part in (train, test):
        if problem := find_problem(data, builder, part):
            raise InputError(f"{builder.data_dir}: {problem}; prepare the set anew.")
    splits = [
        stream_split(
            builder,
            getattr(data, part),
            task.label.apply,
            pixels=task.pixels,
            fields=task.label.fields,
            in_file_order=True,
        )
        for part in (train, test)
    ]
    class_names = task.label.class_names
    if class_names is None:
        class_names = tuple(builder.info.features[task.label.feature].names)
    found = splits[0].read_labels()
    check_labels(found, found, class_names)
    shape = builder.info.features["image"].shape[:2]
    return Source(
        name=f"vtab/{task.name}",
        class_names=class_names,
        train=splits[0],
        test=splits[1],
        image_size=shape if all(shape) else usual_size(splits[0]),
    )


def find_problem(data, builder, part):
    """Returns what is wrong about a part of a prepared set, in a few words.

    Args:
        data: A `TaskSet`.
        builder: The builder of the set.
        part: `"train800"`, `"val200"`, `"train1000"` or `"test"`.

    Returns:
        The words, or `None` if the part is as it has to be.
    """
    expression, expected = getattr(data, part), data.expected_size(part)
    try:
        number = builder.info.splits[expression].num_examples
    # The set has no such split, or it ends before.
    except (ValueError, KeyError):
        return f"there is no {expression} in {builder.info.full_name}"
    if number != expected:
        return (
            f"{expression} of {builder.info.full_name} has {number:,} examples in "
            f"place of {expected:,}"
        )
    if missing := missing_files(builder, expression):
        others = f", with {len(missing) - 1:,} others" if len(missing) > 1 else ""
        return f"the file {missing[0].name} is gone{others}"
    return None


def check_data(tasks=None, data_dir=None):
    """Looks for the sets of tasks, without downloading anything.

    Args:
        tasks: `Task`s; by default all of them.
        data_dir: Folder where TFDS keeps its sets; by default TFDS's own.

    Returns:
        A list with a dict of JSON's types for each set: its name (`dataset`), the
        names of its `tasks`, the `version` that is there and its `folder`, both `None`
        if there is none, and its `state`: `"ready"`, `"damaged"`, `"download"` where
        TFDS can fetch it, or `"by hand"`; and `advice`, what is wrong or to do.
    """
    tasks = tuple(TASKS.values()) if tasks is None else tasks
    by_set = {}
    for task in tasks:
        by_set.setdefault(task.data, []).append(task.name)
    return [
        {"dataset": data.name, "tasks": names, **_look_for(data, data_dir)}
        for data, names in by_set.items()
    ]


def _look_for(data, data_dir):
    import tensorflow_datasets as tfds

    folder = prepared_folder(data.name, data.versions, data_dir)
    if folder is None:
        state = "by hand" if data.by_hand else "download"
        advice = data.by_hand or "TFDS downloads it when it is asked for"
        return {"version": None, "folder": None, "state": state, "advice": advice}
    builder = tfds.builder_from_directory(folder)
    problems = [find_problem(data, builder, part) for part in PARTS]
    advice = "; ".join(dict.fromkeys(filter(None, problems)))
    return {
        "version": folder.name,
        "folder": str(folder),
        "state": "damaged" if advice else "ready",
        "advice": advice,
    }
