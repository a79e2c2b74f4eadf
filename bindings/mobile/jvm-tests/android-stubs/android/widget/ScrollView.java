package android.widget;

import android.content.Context;
import android.view.ViewGroup;

/** A stand-in for Android's class, so that the sample compiles. It does nothing. */
public class ScrollView extends ViewGroup {
    public ScrollView(Context context) {
        super(context);
    }
}
