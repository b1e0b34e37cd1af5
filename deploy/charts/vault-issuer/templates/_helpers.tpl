{{- define "vault-issuer.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* The prefix of all names: the release's name, followed by the chart's unless the release's contains it. */}}
{{- define "vault-issuer.fullname" -}}
{{- $name := include "vault-issuer.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "vault-issuer.selector" -}}
app.kubernetes.io/name: {{ include "vault-issuer.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "vault-issuer.labels" -}}
{{- include "vault-issuer.mergedLabels" (dict "root" . "labels" dict "versions" true) }}
{{- end }}

{{- /*
The labels of an object, each key once: the selector's, then `labels`, then commonLabels. `versions` adds those that
change with every release; the pods do without them, so that a release that changes only the chart restarts nothing.
*/}}
{{- define "vault-issuer.mergedLabels" -}}
{{- $root := .root }}
{{- $versions := dict }}
{{- if .versions }}
{{- $_ := set $versions "app.kubernetes.io/version" $root.Chart.AppVersion }}
{{- $chart := printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- $_ := set $versions "helm.sh/chart" $chart }}
{{- end }}
{{- $managed := dict "app.kubernetes.io/managed-by" $root.Release.Service }}
{{- $selector := include "vault-issuer.selector" $root | fromYaml }}
{{- merge $selector .labels $root.Values.commonLabels $managed $versions | toYaml }}
{{- end }}

{{- /* The metadata of an object: `root` and `name`, and where there are any, `namespace`, `labels`, `annotations`. */}}
{{- define "vault-issuer.metadata" -}}
metadata:
  name: {{ .name | quote }}
  {{- with .namespace }}
  namespace: {{ . | quote }}
  {{- end }}
  labels:
    {{- include "vault-issuer.mergedLabels" (dict "root" .root "labels" (.labels | default dict) "versions" true) | nindent 4 }}
  {{- with .annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "vault-issuer.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "vault-issuer.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "vault-issuer.clusterResourceNamespace" -}}
{{- default .Release.Namespace .Values.clusterResourceNamespace }}
{{- end }}

{{- define "vault-issuer.leaseNamespace" -}}
{{- default .Release.Namespace .Values.app.leaderElection.namespace }}
{{- end }}

{{- /*
The name of the Lease. Releases that are limited to namespaces do not exclude each other, so each has a Lease of its own.
*/}}
{{- define "vault-issuer.leaseName" -}}
{{- if .Values.namespaces }}
{{- include "vault-issuer.fullname" . }}
{{- else -}}
vault-issuer
{{- end }}
{{- end }}

{{- define "vault-issuer.image" -}}
{{- $registry := .Values.image.registry | default (dig "imageRegistry" "" (.Values.global | default dict)) }}
{{- with .Values.image }}
{{- with $registry }}{{ trimSuffix "/" . }}/{{ end }}
{{- .repository }}
{{- if .digest }}@{{ .digest }}{{ else }}:{{ default $.Chart.AppVersion .tag }}{{ end }}
{{- end }}
{{- end }}

{{- /* The controller as the subject of a binding. */}}
{{- define "vault-issuer.subjects" -}}
- kind: ServiceAccount
  name: {{ include "vault-issuer.serviceAccountName" . | quote }}
  namespace: {{ .Release.Namespace | quote }}
{{- end }}

{{- /* The seconds in a duration of Go or Prometheus that the schema has accepted, such as 1m30s. */}}
{{- define "vault-issuer.seconds" -}}
{{- $units := dict "ns" 1e-9 "us" 1e-6 "µs" 1e-6 "μs" 1e-6 "ms" 1e-3 "s" 1.0 "m" 60.0 "h" 3600.0 "d" 86400.0 "w" 604800.0 "y" 31536000.0 }}
{{- $seconds := 0.0 }}
{{- range regexFindAll "[0-9.]+[a-zµμ]+" . -1 }}
{{- $unit := regexFind "[a-zµμ]+$" . }}
{{- $seconds = addf $seconds (mulf (trimSuffix $unit . | float64) (get $units $unit)) }}
{{- end }}
{{- $seconds }}
{{- end }}
