// Parses expressions with the grammar of Prometheus 3 (the one of its own web page). Reads a JSON list of strings from
// stdin, and writes a JSON list with the place of the first error of each, or null.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const { parser } = createRequire(join(process.cwd(), "package.json"))("@prometheus-io/lezer-promql");

function error(text) {
  let at = null;
  parser.parse(text).iterate({
    enter: (node) => {
      if (node.type.isError && at === null) at = node.from;
    },
  });
  return at;
}

const expressions = JSON.parse(readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify(expressions.map(error)));
