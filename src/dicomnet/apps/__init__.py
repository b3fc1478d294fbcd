"""The eight tools under the names and with the options that users of pynetdicom type."""

TOOLS = ("echoscp", "echoscu", "findscu", "getscu", "movescu", "qrscp", "storescp", "storescu")
