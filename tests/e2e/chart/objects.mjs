// Checks objects of custom kinds: values by the validators that are generated from their definitions, keys by the
// types (a validator lets an unknown key pass; the compiler does not). Reads [{ where, object }] from standard input,
// prints a list of findings as JSON.
import * as operator from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1";
import * as gateway from "@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1";
import * as autoscaling from "kubernetes-models/autoscaling/v2";
import ts from "typescript";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const OPERATOR = "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1";
const GATEWAY = "@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1";
const AUTOSCALING = "kubernetes-models/autoscaling/v2";
const KINDS = {
  "monitoring.coreos.com/v1 ServiceMonitor": [OPERATOR, "IServiceMonitor", operator.ServiceMonitor],
  "monitoring.coreos.com/v1 PodMonitor": [OPERATOR, "IPodMonitor", operator.PodMonitor],
  "monitoring.coreos.com/v1 PrometheusRule": [OPERATOR, "IPrometheusRule", operator.PrometheusRule],
  "gateway.networking.k8s.io/v1 HTTPRoute": [GATEWAY, "IHTTPRoute", gateway.HTTPRoute],
  "autoscaling/v2 HorizontalPodAutoscaler": [AUTOSCALING, "IHorizontalPodAutoscaler", autoscaling.HorizontalPodAutoscaler],
  "keda.sh/v1alpha1 ScaledObject": ["./others.js", "ScaledObject"],
  "autoscaling.k8s.io/v1 VerticalPodAutoscaler": ["./others.js", "VerticalPodAutoscaler"],
  "monitoring.googleapis.com/v1 PodMonitoring": ["./others.js", "PodMonitoring"],
  "grafana.integreatly.org/v1beta1 GrafanaDashboard": ["./others.js", "GrafanaDashboard"],
};

const given = JSON.parse(readFileSync(0, "utf8"));
const findings = [];
const lines = [];
const at = [];
for (const [path, type] of Object.values(KINDS)) lines.push(`import type { ${type} } from "${path}";`);
given.forEach(({ where, object }, index) => {
  const kind = KINDS[`${object.apiVersion} ${object.kind}`];
  if (!kind) return findings.push(`${where}: no definition of ${object.apiVersion} ${object.kind}`);
  const [, type, Model] = kind;
  try {
    if (Model) new Model(object).validate();
  } catch (error) {
    findings.push(`${where}: ${error.message}`);
  }
  lines.push(`export const object${index}: ${type} = ${JSON.stringify(object)};`);
  at[lines.length - 1] = where;
});

const name = fileURLToPath(new URL("./given.ts", import.meta.url));
const options = { strict: true, noEmit: true, skipLibCheck: true, target: ts.ScriptTarget.ES2022,
  module: ts.ModuleKind.NodeNext, moduleResolution: ts.ModuleResolutionKind.NodeNext };
const host = ts.createCompilerHost(options);
const { getSourceFile, fileExists, readFile } = host;
const text = lines.join("\n");
host.fileExists = (path) => path === name || fileExists.call(host, path);
host.readFile = (path) => (path === name ? text : readFile.call(host, path));
host.getSourceFile = (path, ...rest) =>
  path === name ? ts.createSourceFile(path, text, options.target) : getSourceFile.call(host, path, ...rest);
for (const { file, start, messageText } of ts.getPreEmitDiagnostics(ts.createProgram([name], options, host))) {
  const message = ts.flattenDiagnosticMessageText(messageText, " ");
  const line = file === undefined ? -1 : file.getLineAndCharacterOfPosition(start).line;
  findings.push(`${at[line] ?? file?.fileName ?? "compiler"}: ${message}`);
}
console.log(JSON.stringify(findings));
