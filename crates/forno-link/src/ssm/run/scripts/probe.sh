# Says that commands can be run here as $user.
known || over "refused-user"
for tool in setsid mkfifo base64 dd; do
  command -v $tool >/dev/null || over "refused $tool is missing on this image"
done
over ready
