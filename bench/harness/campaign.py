"""Lists and templates for the scenarios."""
import os

FILLER = "The quick brown fox jumps over the lazy dog, and then it does so again.\n"


def write_list(path, recipients, domains, data_bytes=0):
    """`recipients` rows over `domains` domains, in turn. `data_bytes` of merge data in two columns per row, or
    a short name and number if 0. The addresses are those of bench-blaster with the prefix "r"."""
    with open(path, "w", encoding="ascii", buffering=1 << 20) as out:
        out.write("email,name,offer\n")
        for number in range(recipients):
            name, offer = f"Recipient {number}", f"{number % 97} %"
            if data_bytes:
                name = name.ljust(data_bytes // 3, "n")
                offer = offer.ljust(data_bytes - len(name), "o")
            out.write(f"r{number:010d}@d{number % domains:06d}.test,{name},{offer}\n")
    return path


def write_template(path, filler_lines):
    with open(path, "w", encoding="ascii") as out:
        out.write("From: Shop <news@blaster.test>\n"
                  "To: {{email}}\n"
                  "Subject: {{name}}, an offer for you\n"
                  "\n"
                  "Dear {{name}},\n\nyour discount is {{offer}}.\n\n")
        out.write(FILLER * filler_lines)
    return path


def template_of_size(folder, engine, list_path, size):
    """A template whose first message has about `size` bytes (within a line) with CRLF; its path and that size."""
    path = os.path.join(folder, "template.txt")

    def rendered():
        message = engine.first_message(list_path, path)
        return len(message) + (message.count(b"\n") - message.count(b"\r\n"))

    write_template(path, 0)
    lines = max(0, round((size - rendered()) / (len(FILLER) + 1)))
    write_template(path, lines)
    return path, rendered()
