"""The image that Dockerfile makes, built and run by buildah on a base made by debootstrap; by the
test command only."""
