import json

from tests.data.octokit_examples import read_examples


def test_every_example_is_a_json_object_that_one_line_does_not_change() -> None:
    examples = list(read_examples())

    assert len(examples) == 404
    for example in examples:
        assert isinstance(json.loads(example.payload), dict)
        assert b"\n" not in example.payload_on_one_line
        assert json.loads(example.payload_on_one_line) == json.loads(example.payload)
