{{/* The release's name for its objects. */}}
{{- define "retune.name" -}}
{{- if contains "retune" .Release.Name }}{{ .Release.Name | trunc 52 | trimSuffix "-" }}{{ else }}{{ printf "%s-retune" .Release.Name | trunc 52 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "retune.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "retune.name" .) }}
{{- end }}

{{- define "retune.signing" -}}
{{ .Values.signing.existingSecret | default (printf "%s-signing" (include "retune.name" .)) }}
{{- end }}

{{- define "retune.selector" -}}
app.kubernetes.io/name: retune
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "retune.labels" -}}
{{ include "retune.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* An image: (list root given default). A registry is put before names whose first part is no host. */}}
{{- define "retune.image" -}}
{{- $root := index . 0 }}
{{- $image := index . 1 | default (printf "%s:%s" (index . 2) $root.Chart.AppVersion) }}
{{- $first := splitList "/" $image | first }}
{{- $registry := $root.Values.global.imageRegistry }}
{{- if and $registry (not (or (contains "." $first) (contains ":" $first) (eq $first "localhost"))) -}}
{{ trimSuffix "/" $registry }}/{{ $image }}
{{- else -}}
{{ $image }}
{{- end }}
{{- end }}

{{/* What the operator may do where jobs live. Each rule is used; a test takes them away one by one. */}}
{{- define "retune.rules" -}}
- apiGroups: [retune.dev]
  resources: [finetunejobs]
  verbs: [get, list, watch]
- apiGroups: [retune.dev]
  resources: [finetuneruns]
  verbs: [get, list, watch, create, delete]
- apiGroups: [retune.dev]
  resources: [finetunejobs/status, finetuneruns/status]
  verbs: [patch]
- apiGroups: [retune.dev]
  resources: [finetunejobs/finalizers, finetuneruns/finalizers] # to set blockOwnerDeletion on children
  verbs: [update]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
- apiGroups: [apps]
  resources: [deployments] # what serves; deleted when a job serves no longer, a candidate's own after its rollout
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services]
  verbs: [get, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, create, patch, delete]
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes] # of jobs in mode Deployment; a cluster need not know them
  verbs: [get, create, patch, delete]
- apiGroups: [""]
  resources: [configmaps] # runs' configurations, arms documents, evidence, drift
  verbs: [get, list, create, patch]
- apiGroups: [""]
  resources: [events]
  verbs: [list, create, patch]
- apiGroups: [""]
  resources: [serviceaccounts] # is the one a job names labelled for it? Never their tokens or Secrets.
  verbs: [get]
{{- end }}
