# More of the input, for a command that is underway.
if [ ! -e "$dir/ready" ]; then over gone; fi
