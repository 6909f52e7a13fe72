{{- define "sandbox-executor.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 44 characters: "-apparmor-installer" and a Service's "-controller" are added to it. */}}
{{- define "sandbox-executor.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 44 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 44 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 44 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "sandbox-executor.controllerName" -}}
{{ include "sandbox-executor.fullname" . }}-controller
{{- end -}}

{{- define "sandbox-executor.logAPIName" -}}
{{ include "sandbox-executor.fullname" . }}-log-api
{{- end -}}

{{- define "sandbox-executor.logAPISecretName" -}}
{{ default (printf "%s-tls" (include "sandbox-executor.logAPIName" .)) .Values.logAPI.tls.existingSecret }}
{{- end -}}

{{- define "sandbox-executor.installerName" -}}
{{ include "sandbox-executor.fullname" . }}-seccomp-installer
{{- end -}}

{{- define "sandbox-executor.apparmorInstallerName" -}}
{{ include "sandbox-executor.fullname" . }}-apparmor-installer
{{- end -}}

{{- define "sandbox-executor.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "sandbox-executor.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: sandbox-executor
{{- end -}}

{{- define "sandbox-executor.selectorLabels" -}}
app.kubernetes.io/name: {{ include "sandbox-executor.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "sandbox-executor.controllerSelectorLabels" -}}
{{ include "sandbox-executor.selectorLabels" . }}
app.kubernetes.io/component: controller
{{- end -}}

{{- define "sandbox-executor.logAPISelectorLabels" -}}
{{ include "sandbox-executor.selectorLabels" . }}
app.kubernetes.io/component: log-api
{{- end -}}

{{- define "sandbox-executor.installerSelectorLabels" -}}
{{ include "sandbox-executor.selectorLabels" . }}
app.kubernetes.io/component: seccomp-installer
{{- end -}}

{{- define "sandbox-executor.apparmorInstallerSelectorLabels" -}}
{{ include "sandbox-executor.selectorLabels" . }}
app.kubernetes.io/component: apparmor-installer
{{- end -}}

{{/* The labels that the controller gives to executor pods (controller/names.py, EXECUTOR_LABELS). */}}
{{- define "sandbox-executor.executorPodLabels" -}}
app.kubernetes.io/name: sandbox-executor
app.kubernetes.io/component: executor
app.kubernetes.io/managed-by: sandbox-executor-controller
{{- end -}}

{{- define "sandbox-executor.controllerImage" -}}
{{ printf "%s:%s" .Values.controller.image.repository (default .Chart.AppVersion .Values.controller.image.tag) }}
{{- end -}}

{{- define "sandbox-executor.executorImage" -}}
{{ printf "%s:%s" .Values.executor.image.repository (default .Chart.AppVersion .Values.executor.image.tag) }}
{{- end -}}

{{- define "sandbox-executor.executorSecretName" -}}
{{ default (printf "%s-executor" (include "sandbox-executor.fullname" .)) .Values.secrets.executor.existingSecret }}
{{- end -}}

{{- define "sandbox-executor.controllerSecretName" -}}
{{ default (printf "%s-controller" (include "sandbox-executor.fullname" .)) .Values.secrets.controller.existingSecret }}
{{- end -}}

{{/*
The installed profile's name holds a hash of its content: pods that run keep the file that they
started with, and can restart with it, while a new version is rolled out.
*/}}
{{- define "sandbox-executor.installedProfileFile" -}}
executor-{{ .Files.Get "files/executor-seccomp.json" | sha256sum | trunc 12 }}.json
{{- end -}}

{{/* Below the kubelet's seccomp folder; what securityContext.seccompProfile.localhostProfile takes. */}}
{{- define "sandbox-executor.localhostProfile" -}}
{{- if .Values.seccompProfile.localhostProfile -}}
{{ .Values.seccompProfile.localhostProfile }}
{{- else if .Values.seccompProfile.installer.enabled -}}
sandbox-executor/{{ include "sandbox-executor.installedProfileFile" . }}
{{- end -}}
{{- end -}}

{{/* The loaded profile's name, for the same reason with a hash. */}}
{{- define "sandbox-executor.loadedApparmorProfile" -}}
sandbox-executor-{{ .Files.Get "files/executor-apparmor.profile" | sha256sum | trunc 12 }}
{{- end -}}

{{/* What executor pods ask for, as controller/settings.py reads it: "", a type, or Localhost/NAME. */}}
{{- define "sandbox-executor.apparmorProfile" -}}
{{- with .Values.appArmorProfile -}}
{{- if and (eq .type "Localhost") .installer.enabled -}}
Localhost/{{ include "sandbox-executor.loadedApparmorProfile" $ }}
{{- else if eq .type "Localhost" -}}
Localhost/{{ .localhostProfile }}
{{- else -}}
{{ .type }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
The Pod Security level that the release's namespace must allow, in a cluster or under a policy of this
minor version of Kubernetes: "root" "minor". docs/security.md has the reasons.
*/}}
{{- define "sandbox-executor.podSecurityLevel" -}}
{{- $installers := or .root.Values.seccompProfile.installer.enabled .root.Values.appArmorProfile.installer.enabled -}}
{{- if or $installers (eq .root.Values.appArmorProfile.type "Unconfined") (lt (int .minor) 35) -}}
privileged
{{- else -}}
baseline
{{- end -}}
{{- end -}}

{{/* The cluster's minor version as a number: "35" of v1.35.2, also of 1.35+. */}}
{{- define "sandbox-executor.minorVersion" -}}
{{ regexReplaceAll "^v?1\\.([0-9]+).*$" .Capabilities.KubeVersion.Version "${1}" }}
{{- end -}}

{{/* Its name holds a hash of its content: the controller reads it at its start, so another one replaces the pod. */}}
{{- define "sandbox-executor.controlPlaneCaFile" -}}
ca-{{ .Values.controlPlane.caBundle | sha256sum | trunc 12 }}.crt
{{- end -}}

{{/* A Secret's value as it is in the cluster (base64), else a new random one: "name" "key" in "root". */}}
{{- define "sandbox-executor.secretValue" -}}
{{- $found := lookup "v1" "Secret" .root.Release.Namespace .name -}}
{{- $old := dig "data" .key "" ($found | default dict) -}}
{{- default (randAlphaNum 48 | b64enc) $old | quote -}}
{{- end -}}

{{/* What controller and log API are told of the object store; "" where there is none. */}}
{{- define "sandbox-executor.objectStoreEnv" -}}
{{- with .Values.objectStore }}
{{- if .url -}}
- name: OBJECT_STORE_URL
  value: {{ .url | quote }}
- name: OBJECT_STORE_PREFIX
  value: {{ .prefix | quote }}
- name: OBJECT_STORE_ENDPOINT
  value: {{ .endpoint | quote }}
- name: OBJECT_STORE_REGION
  value: {{ .region | quote }}
- name: OBJECT_STORE_ALLOW_HTTP
  value: {{ .allowHTTP | quote }}
{{- if .credentialsSecret }}
- name: OBJECT_STORE_CREDENTIALS
  value: /var/run/secrets/sandbox-executor-store
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "sandbox-executor.objectStoreMounts" -}}
{{- with .Values.objectStore }}
{{- if and .url .credentialsSecret -}}
- name: object-store
  mountPath: /var/run/secrets/sandbox-executor-store
  readOnly: true
{{- end }}
{{- if and .url .localVolume }}
- name: objects
  mountPath: {{ trimPrefix "file://" .url }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "sandbox-executor.objectStoreVolumes" -}}
{{- with .Values.objectStore }}
{{- if and .url .credentialsSecret -}}
- name: object-store
  secret:
    secretName: {{ .credentialsSecret }}
    defaultMode: 0440
{{- end }}
{{- if and .url .localVolume }}
- name: objects
  {{- toYaml .localVolume | nindent 2 }}
{{- end }}
{{- end }}
{{- end -}}
