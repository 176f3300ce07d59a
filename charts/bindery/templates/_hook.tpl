{{/*
A Job that runs a bindery command around an upgrade or the uninstallation, with an identity that lives as long:
(dict "root" . "hook" "pre-upgrade" "suffix" "crds" "args" (list ...) "rules" (list ...)).
*/}}
{{- define "bindery.job" -}}
{{- $root := .root -}}
{{- $name := printf "%s-%s" (include "bindery.name" $root) .suffix -}}
{{- $labels := include "bindery.labels" $root -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ $name }}
  labels: {{- $labels | nindent 4 }}
  annotations: {{- include "bindery.hook" (list .hook "-1") | nindent 4 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: {{ $name }}
  labels: {{- $labels | nindent 4 }}
  annotations: {{- include "bindery.hook" (list .hook "-1") | nindent 4 }}
rules: {{- toYaml .rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: {{ $name }}
  labels: {{- $labels | nindent 4 }}
  annotations: {{- include "bindery.hook" (list .hook "-1") | nindent 4 }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {{ $name }}}
subjects:
  - {kind: ServiceAccount, name: {{ $name }}, namespace: {{ $root.Release.Namespace }}}
---
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ $name }}
  labels: {{- $labels | nindent 4 }}
  annotations: {{- include "bindery.hook" (list .hook "0") | nindent 4 }}
spec:
  backoffLimit: {{ .backoffLimit }}
  activeDeadlineSeconds: 120
  template:
    metadata:
      labels: {{- include "bindery.selector" (list $root .suffix) | nindent 8 }}
    spec:
      {{- include "bindery.pod" (list $root .suffix) | nindent 6 }}
      restartPolicy: Never
      containers:
        - name: bindery
          {{- include "bindery.container" $root | nindent 10 }}
          args: {{- toYaml .args | nindent 12 }}
          # `kubectl describe` shows the reason of a refusal.
          terminationMessagePolicy: FallbackToLogsOnError
          resources:
            requests: {cpu: 10m, memory: 32Mi}
            limits: {memory: 64Mi}
{{- end -}}
