// aimock on a port of 127.0.0.1: `aimock.mjs PORT FIXTURES`. Its own command line cannot say what a reranker answers.
import { LLMock } from "@copilotkit/aimock";

const [port, fixtures] = process.argv.slice(2);
const mock = new LLMock({ host: "127.0.0.1", port: Number(port), logLevel: "warn" });
mock.loadFixtureFile(fixtures);
mock.onRerank(/.*/, [{ index: 1, relevance_score: 0.9 }, { index: 0, relevance_score: 0.2 }]);
await mock.start();
