"""The command that samples text: generate."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import chain
from typing import Annotated, Any

import typer

from training_engine._generation import TextPiece, TextPieces, whole_texts
from training_engine._home import expanded
from training_engine.cli import completion, extensions
from training_engine.cli.output import Output
from training_engine.cli.session import Session


def generate(
    session: Session,
    checkpoint: Annotated[
        str,
        typer.Argument(
            metavar="CHECKPOINT",
            help="Id of a checkpoint; or a job, which means its best one; with --local, a file.",
            autocompletion=completion.jobs,
        ),
    ],
    prompts: Annotated[
        list[str] | None,
        typer.Option("--prompt", "-p", help="The text to continue; may be repeated."),
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Tokens to sample; default 256.")] = None,
    temperature: Annotated[
        float | None, typer.Option(help="0 takes the likeliest token; default 1.")
    ] = None,
    top_k: Annotated[int | None, typer.Option(help="Only the k likeliest tokens.")] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Only the likeliest with this probability.")
    ] = None,
    min_p: Annotated[
        float | None, typer.Option(help="Only tokens with this share of the likeliest one's.")
    ] = None,
    repetition_penalty: Annotated[
        float | None, typer.Option(help="Above 1, earlier tokens are less likely.")
    ] = None,
    stop: Annotated[
        list[str] | None, typer.Option(help="A text that ends a sample; may be repeated.")
    ] = None,
    stop_token_ids: Annotated[
        list[int] | None,
        typer.Option("--stop-token-id", help="A token that ends a sample; may be repeated."),
    ] = None,
    num_samples: Annotated[
        int | None, typer.Option("--num-samples", "-n", help="Samples of the prompt; default 1.")
    ] = None,
    logprobs: Annotated[
        int | None,
        typer.Option(help="With --json: log-probabilities, and those of so many likeliest tokens."),
    ] = None,
    prompt_logprobs: Annotated[
        int | None,
        typer.Option(help="With --json: the same of the prompt's own tokens."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Equal seeds give equal text; sample i has SEED + i.")
    ] = None,
    chat: Annotated[
        bool,
        typer.Option(
            "--chat",
            help="The prompt is a user's message: answer it as a model that was trained on "
            "conversations, by the chat template of its checkpoint.",
        ),
    ] = False,
    averaged: Annotated[
        bool, typer.Option("--averaged", help="Take the average of the weights (`ema_decay`).")
    ] = False,
    local: Annotated[
        bool, typer.Option("--local", help="Sample on this machine, without a service.")
    ] = False,
) -> None:
    """Continue a prompt with text sampled from a checkpoint, also while its job trains."""
    for flag, count in (("--logprobs", logprobs), ("--prompt-logprobs", prompt_logprobs)):
        if count is not None and not session.output.as_json:
            raise typer.BadParameter(f"{flag} is shown with --json alone; add --json")
    several = prompts if prompts and len(prompts) > 1 else None
    if several and chat:
        raise typer.BadParameter("--chat answers one --prompt; leave the others out")
    prompt = "" if several or not prompts else prompts[0]
    options = {
        "max_tokens": max_tokens,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
        "stop": stop or None,
        "stop_token_ids": stop_token_ids or None,
        "num_samples": num_samples,
        "logprobs": logprobs,
        "prompt_logprobs": prompt_logprobs,
        "seed": seed,
        "messages": [{"role": "user", "content": prompt}] if chat else None,
        "prompts": several,
        "averaged": averaged or None,
    }
    given = {name: value for name, value in options.items() if value is not None}
    text = "" if chat else prompt
    pieces: Iterator[TextPiece]
    if local:
        pieces = _pieces_of(extensions.call("generate", expanded(checkpoint), text, **given))
    else:
        checkpoint = session.checkpoint_id(checkpoint)
        pieces = session.engine.checkpoints.generate(checkpoint, text, **given)  # type: ignore[arg-type]
    if session.output.as_json:
        whole = whole_texts(prompt, several or [], list(pieces))
        session.output.json({"checkpoint_id": checkpoint, **whole})
        return
    if not several:
        _show(session.output, text, pieces)
        return
    taken = list(pieces)  # their tokens come in turns
    for number, each in enumerate(several):
        _show(session.output, each, (piece for piece in taken if piece.prompt_index == number))
        print()


def _show(output: Output, prompt: str, pieces: Iterator[TextPiece]) -> None:
    """Print each sample behind its prompt as it comes, an empty line between two samples."""
    with _waiting("loading the model, which may take a moment …"):
        first = next(pieces, TextPiece())
    if first.dropped_prompt_tokens:
        seen = (first.prompt_tokens or 0) - first.dropped_prompt_tokens
        output.note(
            f"the prompt has {first.prompt_tokens} tokens; the model sees the last {seen}, which "
            "are all that its context takes"
        )
    print(prompt, end="")
    sample = 0
    for piece in chain([first], pieces):
        if piece.sample != sample:
            sample = piece.sample
            print(f"\n\n{prompt}", end="")
        print(piece, end="", flush=True)
    print()


def _pieces_of(sampled: Iterable[Any]) -> Iterator[TextPiece]:
    """Text that is sampled here, as the service would send it."""
    pieces = TextPieces()
    for token in sampled:
        if (piece := pieces.take(asdict(token))) is not None:
            yield piece


@contextmanager
def _waiting(text: str) -> Iterator[None]:
    """Say on stderr, where a person looks on, why nothing is to be seen yet."""
    if not (sys.stderr.isatty() and sys.stdout.isatty()):
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield
