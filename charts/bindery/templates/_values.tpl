{{/* For charts that wrap this one: what they set before the templates read the values. */}}
{{- define "bindery.values" -}}
{{- end -}}
