{{/*
Makes the values of charts/bindery from those of the AWS Service Broker's chart. All of bindery's templates (the folder `bindery`) include
this first, so it does nothing when it has been done. Helm takes this definition instead of bindery's own because its file is higher up.
*/}}
{{- define "bindery.values" -}}
{{- if not (hasKey .Values "backends") -}}
{{- include "aws-servicebroker.check" . -}}
{{- $aws := .Values.aws -}}
{{- $config := .Values.brokerconfig -}}
{{- $backend := dict "type" "aws" "region" $aws.region "brokerId" $config.brokerid "prescribeOverrides" $config.prescribeoverrides -}}
{{- range $field, $value := dict "cloudformationRoleArn" $aws.cloudformationrolearn "permissionsBoundaryArn" $aws.permissionsboundaryarn "endpoint" $aws.endpoint -}}
{{- with $value -}}{{- $_ := set $backend $field . -}}{{- end -}}
{{- end -}}
{{- if $aws.targetrolename -}}
{{- $partition := hasPrefix "cn-" $aws.region | ternary "aws-cn" (hasPrefix "us-gov-" $aws.region | ternary "aws-us-gov" "aws") -}}
{{- $_ := set $backend "role" (dict "arn" (printf "arn:%s:iam::%v:role/%s" $partition $aws.targetaccountid $aws.targetrolename)) -}}
{{- end -}}
{{- with $aws.rdscasecret -}}
{{- $_ := set $backend "secretName" . -}}
{{- $_ := set $backend "secretKeys" (list "rds-ca.crt") -}}
{{- end -}}
{{- if $aws.bucket -}}
{{- $templates := dict "bucket" $aws.bucket "prefix" $aws.key -}}
{{- with $aws.s3region -}}{{- $_ := set $templates "region" . -}}{{- end -}}
{{- $_ := set $backend "templates" $templates -}}
{{- end -}}
{{- $_ := set .Values "backends" (dict "aws" $backend) -}}
{{- $_ := set .Values "services" list -}}
{{- $_ := set .Values "image" (include "aws-servicebroker.image" . | fromYaml) -}}
{{- /* A pod does not notice that a variable's Secret has changed. */ -}}
{{- $checksum := dict -}}
{{- with $aws.secretkey -}}{{- $checksum = dict "checksum/credentials" (printf "%s %s" $aws.accesskeyid . | sha256sum) -}}{{- end -}}
{{- $_ := set .Values "podAnnotations" (merge $checksum .Values.annotations) -}}
{{- $_ := set .Values "log" (dict "filter" (ge (int .Values.brokerconfig.verbosity) 5 | ternary "bindery=debug,info" "info")) -}}
{{- $store := printf "dynamodb:%s?region=%s" $aws.tablename $aws.region -}}
{{- with $aws.endpoint -}}{{- $store = printf "%s&endpoint=%s" $store . -}}{{- end -}}
{{- $name := "aws-servicebroker" -}}
{{- $_ := set .Values "broker" (dict
      "register" (.Values.deployClusterServiceBroker | ternary $name "")
      "registerInNamespace" (.Values.deployNamespacedServiceBroker | ternary $name "")
      "host" (printf "%s.%s.svc.%s" (include "aws-servicebroker.service" .) .Release.Namespace .Values.clusterDomain)
      "store" $store
      "serviceAccountAnnotations" .Values.serviceAccountAnnotations
      "extraEnv" (concat (include "aws-servicebroker.env" . | fromYamlArray) .Values.extraEnv)) -}}
{{- end -}}
{{- end -}}

{{/* Refuses what would otherwise be ignored. */}}
{{- define "aws-servicebroker.check" -}}
{{- $aws := .Values.aws -}}
{{- if not .Values.authenticate -}}
{{- fail "authenticate=false: bindery's broker takes requests only from those who log in; remove the value" -}}
{{- end -}}
{{- if or .Values.tls.cert .Values.tls.key -}}
{{- fail "tls: bindery makes and renews the broker's certificate; remove tls.cert and tls.key" -}}
{{- end -}}
{{- if .Values.kubeTargetVersionOverride -}}
{{- fail "kubeTargetVersionOverride: use `helm template --kube-version` instead, and remove the value" -}}
{{- end -}}
{{- if ne (empty $aws.accesskeyid) (empty $aws.secretkey) -}}
{{- fail "aws.accesskeyid and aws.secretkey belong together; set both, or neither for aws.existingSecret or the SDK's chain" -}}
{{- end -}}
{{- if and $aws.accesskeyid $aws.existingSecret -}}
{{- fail "aws.existingSecret holds an access key, and so does aws.accesskeyid; set one of them" -}}
{{- end -}}
{{- if ne (empty $aws.targetaccountid) (empty $aws.targetrolename) -}}
{{- fail "aws.targetaccountid and aws.targetrolename belong together; set both, or neither" -}}
{{- end -}}
{{- if and (or $aws.key $aws.s3region) (empty $aws.bucket) -}}
{{- fail "aws.key and aws.s3region belong to aws.bucket; set it, or remove them for bindery's own templates alone" -}}
{{- end -}}
{{- if eq $aws.accesskeyid "REPLACEME" -}}
{{- fail "aws.accesskeyid is still REPLACEME; set it to the id of an access key" -}}
{{- end -}}
{{- end -}}

{{/* The image as charts/bindery has it: `REPOSITORY[:TAG][@DIGEST]` in parts. */}}
{{- define "aws-servicebroker.image" -}}
{{- $parts := "^(.+?)(?::([^:/@]+))?(?:@(sha256:[0-9a-f]{64}))?$" -}}
{{- dict "repository" (regexReplaceAll $parts .Values.image "${1}") "tag" (regexReplaceAll $parts .Values.image "${2}")
      "digest" (regexReplaceAll $parts .Values.image "${3}") "pullPolicy" .Values.imagePullPolicy | toYaml -}}
{{- end -}}

{{/* The Service that the AWS Service Broker's chart had. */}}
{{- define "aws-servicebroker.service" -}}
{{- printf "%s-aws-servicebroker" .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "aws-servicebroker.secret" -}}
{{- .Values.aws.existingSecret | default (printf "%s-credentials" .Release.Name) -}}
{{- end -}}

{{/*
The access key as variables, which the store in DynamoDB and the backend take from the SDK's chain, and the override of the VPC.
*/}}
{{- define "aws-servicebroker.env" -}}
{{- $aws := .Values.aws -}}
{{- $env := list -}}
{{- if or $aws.existingSecret $aws.accesskeyid -}}
{{- $keys := empty $aws.existingSecret | ternary (list "accesskeyid" "secretkey") (list $aws.accesskeyidName $aws.secretkeyName) -}}
{{- $secret := include "aws-servicebroker.secret" . -}}
{{- range $index, $name := list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" -}}
{{- $reference := dict "name" $secret "key" (index $keys $index) -}}
{{- $env = append $env (dict "name" $name "valueFrom" (dict "secretKeyRef" $reference)) -}}
{{- end -}}
{{- end -}}
{{- with $aws.vpcid -}}
{{- $env = append $env (dict "name" (printf "PARAM_OVERRIDE_%s_all_all_all_VpcId" $.Values.brokerconfig.brokerid) "value" .) -}}
{{- end -}}
{{- toYaml $env -}}
{{- end -}}
