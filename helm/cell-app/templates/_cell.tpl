{{/* Labels of everything in this chart. */}}
{{- define "cell.labels" -}}
app.kubernetes.io/name: cell
app.kubernetes.io/part-of: cellwallet
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
cellwallet/cell: {{ .Values.cell.id | quote }}
{{- end }}

{{/* What selects the API processes of all zones; immutable in a Deployment, so no version may ever stand here. */}}
{{- define "cell.selector" -}}
app.kubernetes.io/name: cell
cellwallet/cell: {{ .Values.cell.id | quote }}
{{- end }}

{{- define "cell.image" -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- end }}

{{/* libpq takes the password from PGPASSWORD, so that none has to be written into a URL. */}}
{{- define "cell.databaseUrl" -}}
postgresql://{{ .role }}@{{ .cell }}-db-rw:5432/cell?sslmode=verify-full&sslrootcert=/run/secrets/database-ca/ca.crt
{{- end }}

{{- define "cell.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "cell.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Who the process is and what it stands on: the same for serving, waiting and migrating. */}}
{{- define "cell.identity" -}}
- name: CELL_ID
  value: {{ .Values.cell.id | quote }}
- name: CELL_HOME_ZONE
  value: {{ .Values.cell.homeZone | quote }}
- name: CELL_HOST
  value: 0.0.0.0
- name: CELL_PORT
  value: "8080"
- name: CELL_ADMIN_PORT
  value: "8081"
- name: CELL_STATE_DIR
  value: /var/lib/cellwallet
- name: CELL_SIGNING_KEY_FILE
  value: /run/secrets/identity/signing_key.pem
- name: CELL_CONTROL_PLANE_JWKS_FILE
  value: /run/secrets/identity/control_plane_jwks.json
- name: CELL_DATABASE_URL
  value: {{ include "cell.databaseUrl" (dict "role" "cell_app" "cell" .Values.cell.id) }}
{{- end }}

{{- define "cell.appPassword" -}}
- name: PGPASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ .Values.cell.id }}-db-cell-app
      key: password
{{- end }}

{{- define "cell.databaseCa" -}}
- name: database-ca
  secret:
    secretName: {{ .Values.cell.id }}-db-ca
    items:
      - key: ca.crt
        path: ca.crt
{{- end }}
