"""Sentences of many lengths and languages, and what texts may be besides."""

SENTENCES = [
    "", " ", "a", "I", "!", "...", "?!", "\n\t", "The cat sits on the mat.", "the CAT sits on the mat", "A feline rests upon a rug.",
    "How do I reset my password?", "Reset your password in the settings, under Security.", "The weather is lovely today.",
    "It's so sunny outside!", "He drove to the stadium.", "don't can't won't it's y'all", "state-of-the-art e-mail, co-operate; 3.14159",
    "call +1 (555) 010-9999 at 10:45pm on 2024-02-29", "user@example.com wrote to https://example.com/a?b=c&d=e#f", "x = a[i] * (b - c) / 2 ** n;",
    "def f(x): return x + 1", "{\"key\": [1, 2, 3], \"other\": null}", "<b>bold</b> &amp; <i>italic</i>", "[CLS] [SEP] [MASK] [UNK] [PAD]",
    "antidisestablishmentarianism", "pneumonoultramicroscopicsilicovolcanoconiosis", "supercalifragilisticexpialidocious " * 3,
    "Die Würde des Menschen ist unantastbar.", "Straße, Größe, Fuß, ÄÖÜ", "Où est la bibliothèque, s'il vous plaît ?", "¿Dónde está el baño? ¡Ahí!",
    "Não há ninguém aqui.", "Съешь же ещё этих мягких французских булок.", "Η γρήγορη καφέ αλεπού πηδάει.", "כל בני האדם נולדו בני חורין", "يولد جميع الناس أحرارا",
    "सभी मनुष्यों को गौरव", "ทุกคนเกิดมาอิสระ", "人人生而自由，在尊严和权利上一律平等。", "すべての人間は、生まれながらにして自由である。", "모든 인간은 태어날 때부터 자유로우며",
    "Tất cả mọi người sinh ra đều được tự do", "İstanbul'da ığdır", "Łódź, Gdańsk i Kraków", "🙂", "I love pizza 🍕 and 🚀 rockets 👩‍👩‍👧‍👦!", "👍🏽👍🏿",
    "naïve café résumé", "nai\u0308ve cafe\u0301 re\u0301sume\u0301", "ﬁne ﬂow ① ½ ™ Ⅷ", "zero\u200bwidth\u00a0space\u00adhyphen\ufeffmark", "a\u0000b\u0001c\u007fd\u0085e",
    "replaced \ufffd character", "𝒻𝒶𝓃𝒸𝓎 𝕥𝕖𝕩𝕥", "tab\tand\nnew\r\nlines", "one two three four five six seven eight nine ten " * 3,
    "The quick brown fox jumps over the lazy dog. " * 10, "Attention weighs every word against every other. " * 30,
    "Long texts are cut where the model's files say so. " * 60, "word " * 600, "字" * 700, "🙂 " * 300, "x" * 5000, "a" * 99 + " " + "b" * 101,
]
