# A node of dispy in a container:    docker build -t dispynode .
# How to run it: docs/operations.rst, "Containers".
FROM python:3.13-slim AS build
COPY packaging /source/packaging
COPY dispynode_lib /source/dispynode_lib
RUN python3 /source/packaging/onefile.py /source/dispynode.py

FROM python:3.13-slim
# any other user number will do as well, with group 0: OpenShift chooses one
RUN useradd --system --uid 970 --gid 0 --home-dir /var/lib/dispynode --shell /usr/sbin/nologin dispynode \
    && install -d -o 970 -g 0 -m 0770 /var/lib/dispynode
COPY --from=build /source/dispynode.py /usr/local/bin/dispynode.py
COPY packaging/dispynode-health /usr/local/bin/dispynode-health
ENV DISPYNODE_DEST_PATH_PREFIX=/var/lib/dispynode \
    PYTHONUNBUFFERED=1
VOLUME /var/lib/dispynode
USER 970
WORKDIR /var/lib/dispynode
# clients find the node by UDP, and nodes call clients: run it in the network of the host
EXPOSE 51348/tcp 51348/udp 61591/tcp 61591/udp 9701/tcp 9701/udp
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=20s --start-period=10s CMD ["dispynode-health"]
# options follow, perhaps after the name of the program, as in the manual of dispy: docker run IMAGE dispynode.py --serve 1
ENTRYPOINT ["/bin/sh", "-c", "[ \"$1\" != dispynode.py ] || shift; exec dispynode.py \"$@\"", "dispynode"]
