"""Examples that are short enough to count by hand."""

from finetune.examples import ExampleMessage, TrainingExample


def dialogue(id: str, answer: str, family="domain", **more) -> TrainingExample:
    messages = (
        ExampleMessage(role="system", content="Be brief."),
        ExampleMessage(role="user", content="Why?"),
        ExampleMessage(role="assistant", content=answer),
    )
    return TrainingExample(id=id, messages=messages, source=f"{family} source", family=family, group=id, **more)
