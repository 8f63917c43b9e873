"""The vendors' own Python clients against the simulator, whose URL is the argument. One line of JSON for each answer."""

import json
import sys

import anthropic
import cohere
import ollama
from google import genai
from google.genai import types

URL = sys.argv[1]
MODEL = "sim-8b"
ASKED = [{"role": "user", "content": "Name three rivers."}]


def say(name: str, **what: object) -> None:
    print(json.dumps({"name": name, **what}), flush=True)


def of_anthropic() -> None:
    client = anthropic.Anthropic(base_url=URL, api_key="k", max_retries=0)
    whole = client.messages.create(model=MODEL, max_tokens=9, system="Be brief.", messages=ASKED)
    say("anthropic", finish=whole.stop_reason, output=whole.usage.output_tokens, text=whole.content[0].text)
    faults = {"x-sim-fault": "early_finish;tokens=20"}
    thinking = {"type": "enabled", "budget_tokens": 1024}
    with client.messages.stream(
        model=MODEL, max_tokens=1100, thinking=thinking, messages=ASKED, extra_headers=faults
    ) as stream:
        events = [event.type for event in stream]
        message = stream.get_final_message()
    kinds = [block.type for block in message.content]
    say(
        "anthropic stream", finish=message.stop_reason, output=message.usage.output_tokens,
        input=message.usage.input_tokens, kinds=kinds, events=len(events),
    )  # fmt: skip
    try:
        client.messages.create(
            model=MODEL, max_tokens=9, messages=ASKED, extra_headers={"x-sim-fault": "overloaded_529"}
        )
    except anthropic.APIStatusError as error:
        say("anthropic error", status=error.status_code, kind=error.body["error"]["type"])


def of_gemini() -> None:
    client = genai.Client(api_key="k", http_options=types.HttpOptions(base_url=URL))
    config = types.GenerateContentConfig(max_output_tokens=9, system_instruction="Be brief.")
    whole = client.models.generate_content(model=MODEL, contents="Name three rivers.", config=config)
    usage = whole.usage_metadata
    say("gemini", finish=whole.candidates[0].finish_reason, output=usage.candidates_token_count, text=whole.text)
    thinking = types.ThinkingConfig(thinking_budget=512, include_thoughts=True)
    config = types.GenerateContentConfig(max_output_tokens=20, thinking_config=thinking)
    stream = client.models.generate_content_stream(model=MODEL, contents="Name three rivers.", config=config)
    chunks = list(stream)
    parts = [part for chunk in chunks for part in chunk.candidates[0].content.parts]
    usage = chunks[-1].usage_metadata
    say(
        "gemini stream", finish=chunks[-1].candidates[0].finish_reason, output=usage.candidates_token_count,
        reasoning=usage.thoughts_token_count, thoughts=sum(bool(part.thought) for part in parts),
    )  # fmt: skip
    try:
        client.models.generate_content(model="unknown", contents="Name three rivers.")
    except genai.errors.ClientError as error:
        say("gemini error", status=error.code, kind=error.status)


def of_ollama() -> None:
    client = ollama.Client(host=URL)
    options = {"num_predict": 9}
    whole = client.chat(model=MODEL, messages=ASKED, options=options)
    say("ollama", finish=whole.done_reason, output=whole.eval_count, text=whole.message.content)
    lines = list(client.chat(model=MODEL, messages=ASKED, think="low", options={"num_predict": 20}, stream=True))
    say(
        "ollama stream", finish=lines[-1].done_reason, output=lines[-1].eval_count,
        thoughts=sum(bool(line.message.thinking) for line in lines),
    )  # fmt: skip
    lines = list(client.generate(model=MODEL, prompt="Name three rivers.", options=options, stream=True))
    say("ollama generate", finish=lines[-1].done_reason, output=lines[-1].eval_count, lines=len(lines))
    try:
        client.chat(model="unknown", messages=ASKED)
    except ollama.ResponseError as error:
        say("ollama error", status=error.status_code, kind=error.error)


def of_cohere() -> None:
    client = cohere.ClientV2(api_key="k", base_url=URL)
    ranked = client.rerank(model=MODEL, query="red heron", documents=["a whale", "the red heron"], top_n=1)
    say("cohere", results=[[result.index, result.relevance_score] for result in ranked.results])


for part in (of_anthropic, of_gemini, of_ollama, of_cohere):
    part()
