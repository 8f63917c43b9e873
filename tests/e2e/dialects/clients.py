"""A vendor's own Python client against the simulator: `clients.py CLIENT URL`. One line of JSON for each answer.

Each requests answers with and without streaming and prints token counts and finish reasons as the client reports them,
and the exceptions that it raises for a 429, a 500, an unknown model, and an error in the middle of a stream.
"""

import json
import sys
from collections.abc import Callable, Iterator

MODEL, ASKED = "sim-8b", "Name three rivers."
MESSAGES = [{"role": "user", "content": ASKED}]
RATE_LIMITED, FAILED = "rate_limited;retry_after=3s", "error_500"
BREAKS = "error_in_stream;after=2"


def say(name: str, **what: object) -> None:
    print(json.dumps({"name": name, **what}), flush=True)


def raises(name: str, call: Callable[[], object]) -> None:
    """The exception of a call that has to fail."""
    try:
        call()
    except Exception as error:
        codes = [getattr(error, field, None) for field in ("status_code", "code")]
        if isinstance(response := getattr(error, "response", None), dict):  # botocore's
            codes.append(response.get("ResponseMetadata", {}).get("HTTPStatusCode"))
        status = next((code for code in codes if isinstance(code, int)), None)
        say(name, raised=type(error).__name__, status=status)
    else:
        say(name, raised=None)


def fault(spec: str) -> dict[str, str]:
    return {"x-sim-fault": spec}


def count(events: Iterator, kind: str) -> int:
    return sum(event.type == kind for event in events)


def of_openai(url: str) -> None:
    import openai

    client = openai.OpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0)
    chat, options = client.chat.completions.create, {"include_usage": True}
    whole = chat(model=MODEL, messages=MESSAGES, max_tokens=9)
    say(
        "chat", finish=whole.choices[0].finish_reason, text=whole.choices[0].message.content,
        input=whole.usage.prompt_tokens, output=whole.usage.completion_tokens,
    )  # fmt: skip
    chunks = list(chat(model=MODEL, messages=MESSAGES, max_tokens=9, stream=True, stream_options=options))
    deltas = [choice.delta.content for chunk in chunks for choice in chunk.choices if choice.delta.content]
    finish = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    usage = chunks[-1].usage
    say("chat stream", finish=finish, text="".join(deltas), input=usage.prompt_tokens, output=usage.completion_tokens)
    whole = chat(model=MODEL, messages=MESSAGES, max_tokens=20, reasoning_effort="minimal")
    say("chat reasoning", reasoning=whole.usage.completion_tokens_details.reasoning_tokens)

    whole = client.completions.create(model=MODEL, prompt=[ASKED], max_tokens=9)
    say("completion", finish=whole.choices[0].finish_reason, output=whole.usage.completion_tokens)
    chunks = list(client.completions.create(model=MODEL, prompt=ASKED, max_tokens=9, stream=True))
    texts = sum(bool(chunk.choices[0].text) for chunk in chunks)
    say("completion stream", finish=chunks[-1].choices[0].finish_reason, texts=texts)

    ask = {"model": MODEL, "input": ASKED, "max_output_tokens": 20, "reasoning": {"effort": "minimal"}}
    whole = client.responses.create(**ask)
    usage = whole.usage
    say(
        "response", status=whole.status, why=whole.incomplete_details.reason, text=whole.output_text,
        kinds=[item.type for item in whole.output], input=usage.input_tokens, output=usage.output_tokens,
        reasoning=usage.output_tokens_details.reasoning_tokens,
    )  # fmt: skip
    events = []
    with client.responses.stream(**ask, extra_headers=fault("early_finish;tokens=14")) as stream:
        events.extend(stream)
        final = stream.get_final_response()
    say(
        "response stream", status=final.status, kinds=[item.type for item in final.output],
        output=final.usage.output_tokens, texts=count(events, "response.output_text.delta"),
        thoughts=count(events, "response.reasoning_summary_text.delta"),
        whole=final.output_text == "".join(e.delta for e in events if e.type == "response.output_text.delta"),
    )  # fmt: skip
    again = [*MESSAGES, *whole.output, {"role": "user", "content": "And three lakes?"}]
    second = client.responses.create(model=MODEL, input=again, max_output_tokens=5)
    say("response again", grown=second.usage.input_tokens > whole.usage.input_tokens + 20)

    made = client.embeddings.create(model=MODEL, input=["one", "two three"], dimensions=8)
    say("embeddings", sizes=[len(item.embedding) for item in made.data], first=made.data[0].embedding[:2])

    raises("429", lambda: chat(model=MODEL, messages=MESSAGES, extra_headers=fault(RATE_LIMITED)))
    raises("500", lambda: client.responses.create(**ask, extra_headers=fault(FAILED)))
    raises("unknown model", lambda: client.embeddings.create(model="unknown", input="x"))
    raises("broken chat", lambda: list(chat(model=MODEL, messages=MESSAGES, stream=True, extra_headers=fault(BREAKS))))
    last = list(client.responses.create(**ask, stream=True, extra_headers=fault(BREAKS)))[-1]
    say("broken response", kind=last.type, status=last.response.status, words=last.response.error.message)


def of_azure(url: str) -> None:
    import openai

    client = openai.AzureOpenAI(azure_endpoint=url, api_version="2024-10-21", api_key="k", max_retries=0)
    chat = client.chat.completions.create
    whole = chat(model=MODEL, messages=MESSAGES, max_tokens=9)
    say(
        "chat", finish=whole.choices[0].finish_reason, text=whole.choices[0].message.content,
        output=whole.usage.completion_tokens,
    )  # fmt: skip
    chunks = list(chat(model=MODEL, messages=MESSAGES, max_tokens=9, stream=True))
    deltas = [choice.delta.content for chunk in chunks for choice in chunk.choices if choice.delta.content]
    say("chat stream", text="".join(deltas), filtered=bool(chunks[0].model_extra.get("prompt_filter_results")))
    made = client.embeddings.create(model=MODEL, input="one", dimensions=4)
    say("embeddings", size=len(made.data[0].embedding))
    client = openai.OpenAI(base_url=f"{url}/openai/v1", api_key="k", max_retries=0)
    first = client.responses.create(model=MODEL, input=ASKED, max_output_tokens=9)
    second = client.responses.create(
        model=MODEL, input="And lakes?", max_output_tokens=9, previous_response_id=first.id
    )
    say(
        "response", status=first.status, text=first.output_text, output=first.usage.output_tokens,
        grown=second.usage.input_tokens > first.usage.input_tokens + 9,
    )  # fmt: skip
    raises("429", lambda: chat(model=MODEL, messages=MESSAGES, extra_headers=fault(RATE_LIMITED)))
    raises("500", lambda: chat(model=MODEL, messages=MESSAGES, extra_headers=fault(FAILED)))
    raises("unknown deployment", lambda: chat(model="unknown", messages=MESSAGES))
    raises("unknown response", lambda: client.responses.create(model=MODEL, input="x", previous_response_id="resp_0"))


def of_boto3(url: str) -> None:
    import boto3
    from botocore.config import Config

    def client(spec: str = ""):
        made = boto3.client(
            "bedrock-runtime", endpoint_url=url, region_name="eu-west-1", aws_access_key_id="k",
            aws_secret_access_key="s", config=Config(retries={"total_max_attempts": 1}),
        )  # fmt: skip
        if spec:
            add = lambda request, **_: request.headers.add_header("x-sim-fault", spec)  # noqa: E731
            made.meta.events.register("before-sign", add)
        return made

    messages = [{"role": "user", "content": [{"text": ASKED}]}]
    few = {"modelId": MODEL, "messages": messages, "inferenceConfig": {"maxTokens": 9}}
    whole = client().converse(**few, system=[{"text": "Be brief."}])
    say(
        "converse", finish=whole["stopReason"], text=whole["output"]["message"]["content"][0]["text"],
        output=whole["usage"]["outputTokens"], counted=whole["usage"]["inputTokens"] > 3,
    )  # fmt: skip
    events = list(client().converse_stream(**few)["stream"])
    found = {kind: event[kind] for event in events for kind in event}
    say(
        "converse stream", finish=found["messageStop"]["stopReason"], output=found["metadata"]["usage"]["outputTokens"],
        texts=sum("text" in event.get("contentBlockDelta", {}).get("delta", {}) for event in events),
    )  # fmt: skip
    raises("429", lambda: client(RATE_LIMITED).converse(**few))
    raises("500", lambda: client(FAILED).converse(**few))
    raises("unknown model", lambda: client().converse(**{**few, "modelId": "unknown"}))
    raises("broken", lambda: list(client(BREAKS).converse_stream(**few)["stream"]))


def of_anthropic(url: str) -> None:
    import anthropic

    client = anthropic.Anthropic(base_url=url, api_key="k", max_retries=0)
    create = client.messages.create
    whole = create(model=MODEL, max_tokens=9, system="Be brief.", messages=MESSAGES)
    say("message", finish=whole.stop_reason, output=whole.usage.output_tokens, text=whole.content[0].text)
    thinking = {"type": "enabled", "budget_tokens": 1024}
    more = {"max_tokens": 1100, "thinking": thinking, "extra_headers": fault("early_finish;tokens=20")}
    with client.messages.stream(model=MODEL, messages=MESSAGES, **more) as stream:
        events = list(stream)
        message = stream.get_final_message()
    say(
        "message stream", finish=message.stop_reason, output=message.usage.output_tokens,
        counted=message.usage.input_tokens > 3, kinds=[block.type for block in message.content],
        texts=count(events, "text"), thoughts=count(events, "thinking"),
    )  # fmt: skip
    short = {"model": MODEL, "max_tokens": 9, "messages": MESSAGES}
    raises("429", lambda: create(**short, extra_headers=fault(RATE_LIMITED)))
    raises("500", lambda: create(**short, extra_headers=fault(FAILED)))
    raises("529", lambda: create(**short, extra_headers=fault("overloaded_529")))
    raises("unknown model", lambda: create(**{**short, "model": "unknown"}))
    raises("broken message", lambda: list(create(**short, stream=True, extra_headers=fault(BREAKS))))


def of_google(url: str) -> None:
    import google.oauth2.credentials
    from google import genai
    from google.genai import types

    def options(**headers: str) -> types.HttpOptions:
        return types.HttpOptions(base_url=url, headers=headers or None)

    def asked(client: genai.Client, **more: object):
        return client.models.generate_content(model=MODEL, contents=ASKED, **more)

    token = google.oauth2.credentials.Credentials(token="t")
    clients = {
        "gemini": genai.Client(api_key="k", http_options=options()),
        "vertex": genai.Client(
            vertexai=True, project="p", location="europe-west4", credentials=token, http_options=options()
        ),
    }
    for name, client in clients.items():
        config = types.GenerateContentConfig(max_output_tokens=9, system_instruction="Be brief.")
        whole = asked(client, config=config)
        usage = whole.usage_metadata
        say(
            name, finish=whole.candidates[0].finish_reason, text=whole.text, output=usage.candidates_token_count,
            counted=usage.prompt_token_count > 3,
        )  # fmt: skip
        thinking = types.ThinkingConfig(thinking_budget=512, include_thoughts=True)
        config = types.GenerateContentConfig(max_output_tokens=20, thinking_config=thinking)
        chunks = list(client.models.generate_content_stream(model=MODEL, contents=ASKED, config=config))
        parts = [part for chunk in chunks for part in chunk.candidates[0].content.parts]
        usage = chunks[-1].usage_metadata
        say(
            f"{name} stream", finish=chunks[-1].candidates[0].finish_reason, output=usage.candidates_token_count,
            reasoning=usage.thoughts_token_count, thoughts=sum(bool(part.thought) for part in parts),
        )  # fmt: skip
        for code, spec in (("429", RATE_LIMITED), ("500", FAILED)):
            config = types.GenerateContentConfig(http_options=options(**fault(spec)))
            raises(f"{name} {code}", lambda client=client, config=config: asked(client, config=config))
    gemini = clients["gemini"].models
    raises("unknown model", lambda: gemini.generate_content(model="unknown", contents=ASKED))
    config = types.GenerateContentConfig(http_options=options(**fault(BREAKS)))
    raises("broken", lambda: list(gemini.generate_content_stream(model=MODEL, contents=ASKED, config=config)))


def of_ollama(url: str) -> None:
    import ollama

    def client(**headers: str) -> ollama.Client:
        return ollama.Client(host=url, headers=headers)

    few = {"num_predict": 9}
    whole = client().chat(model=MODEL, messages=MESSAGES, options=few)
    say("chat", finish=whole.done_reason, output=whole.eval_count, text=whole.message.content)
    lines = list(client().chat(model=MODEL, messages=MESSAGES, think="low", options={"num_predict": 20}, stream=True))
    say(
        "chat stream", finish=lines[-1].done_reason, output=lines[-1].eval_count,
        counted=lines[-1].prompt_eval_count > 3, thoughts=sum(bool(line.message.thinking) for line in lines),
        texts=sum(bool(line.message.content) for line in lines),
    )  # fmt: skip
    whole = client().generate(model=MODEL, prompt=ASKED, system="Be brief.", options=few)
    say("generate", finish=whole.done_reason, output=whole.eval_count, text=whole.response)
    lines = list(client().generate(model=MODEL, prompt=ASKED, options=few, stream=True))
    say("generate stream", finish=lines[-1].done_reason, output=lines[-1].eval_count, lines=len(lines))
    raises("429", lambda: client(**fault(RATE_LIMITED)).chat(model=MODEL, messages=MESSAGES))
    raises("500", lambda: client(**fault(FAILED)).generate(model=MODEL, prompt=ASKED))
    raises("unknown model", lambda: client().chat(model="unknown", messages=MESSAGES))
    broken = client(**fault(BREAKS))
    raises("broken chat", lambda: list(broken.chat(model=MODEL, messages=MESSAGES, stream=True)))


def of_huggingface(url: str) -> None:
    from huggingface_hub import InferenceClient

    clients = []  # a client that is garbage-collected closes its streams

    def generate(spec: str = "", **more: object):
        clients.append(InferenceClient(model=url, headers=fault(spec) if spec else None, token="none"))
        return clients[-1].text_generation(ASKED, **{"max_new_tokens": 9, "details": True, **more})

    whole = generate(decoder_input_details=True)
    say(
        "generate", finish=whole.details.finish_reason, output=whole.details.generated_tokens,
        text=whole.generated_text, tokens=len(whole.details.tokens), counted=len(whole.details.prefill) > 3,
    )  # fmt: skip
    events = list(generate("early_finish;tokens=5", stream=True))
    last = events[-1]
    say(
        "generate stream", finish=last.details.finish_reason, output=last.details.generated_tokens,
        counted=last.details.input_length > 3, texts=sum(not event.token.special for event in events),
        whole=last.generated_text == "".join(event.token.text for event in events if not event.token.special),
    )  # fmt: skip
    raises("429", lambda: generate(RATE_LIMITED))
    raises("500", lambda: generate(FAILED))
    raises("invalid", lambda: generate(max_new_tokens=0))
    raises("broken", lambda: list(generate(BREAKS, stream=True)))
    client = InferenceClient(base_url=url, api_key="none")
    chat = client.chat_completion(MESSAGES, model=MODEL, max_tokens=9)
    say("chat", finish=chat.choices[0].finish_reason, output=chat.usage.completion_tokens)


def of_cohere(url: str) -> None:
    import cohere

    client = cohere.ClientV2(api_key="k", base_url=url, max_retries=0)

    def rerank(spec: str = "", model: str = MODEL):
        options = {"additional_headers": fault(spec)} if spec else None
        documents = ["a whale", "the red heron", "a red fox"]
        return client.rerank(model=model, query="red heron", documents=documents, top_n=2, request_options=options)

    ranked = rerank()
    say(
        "rerank", results=[[result.index, result.relevance_score] for result in ranked.results],
        counted=ranked.meta.tokens.input_tokens > 6,
    )  # fmt: skip
    raises("429", lambda: rerank(RATE_LIMITED))
    raises("500", lambda: rerank(FAILED))
    raises("unknown model", lambda: rerank(model="unknown"))


if __name__ == "__main__":
    globals()[f"of_{sys.argv[1]}"](sys.argv[2])
